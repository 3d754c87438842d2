"""``edgekd status``: asks peers for their status and prints it."""

import asyncio
import dataclasses
import json
from typing import Any

import click

from edgekd.cli.lines import say, say_lines
from edgekd.cli.options import settings
from edgekd.config import Config, ExchangeConfig
from edgekd.exit_codes import ExitCode
from edgekd.protocol.messages import Training

EXAMPLES = """
\b
Examples:
  edgekd status 127.0.0.1:7000 127.0.0.1:7001
  edgekd status 0@box-a:7000 1@box-b:7000 --certs certs/peer-0 --json
"""

MEANINGS = {
    "loss": "of the last step, on labels",
    "distil": "the loss of the last step on what the neighbours say",
    "lessons": "steps that learned from neighbours",
    "age": "steps since the predictions of the neighbours that are up arrived, of the youngest and the oldest",
    "disagreement": "of the neighbour that says least of what the others say, from 0 to 1; --json has everybody's",
}
"""Explanations of columns of the table, by their titles."""

UNKNOWN = {"id": None, "step": None, "steps": None, "round": None, "accuracy": None, "state": "no answer"}
COUNTS = {"bytes_sent": 0, "bytes_received": 0, "refused": {}, "neighbours": []}
NOTHING: dict[str, Any] = {**UNKNOWN, **COUNTS, **dataclasses.asdict(Training())}  # the fields, in this order


@click.command(epilog=EXAMPLES)
@settings("exchange", only=("transport", "certs"))
@click.argument("addresses", nargs=-1, required=True, metavar="[ID@]HOST:PORT...")
@click.option(
    "--timeout", type=click.FloatRange(0.1), default=3.0, show_default=True, help="Seconds to wait for each peer."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def command(config: Config, addresses: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Ask peers for their status: neighbours, step, accuracy, losses, lessons, refusals, trouble with the disk.

    The exit code is 1 if a peer does not answer.
    """
    from peer.node.access import check_addresses

    check_addresses(addresses, config.exchange.certs)
    found = asyncio.run(_ask_all(addresses, timeout, config.exchange))
    if as_json:
        say_lines(json.dumps(found, indent=2))
    else:
        from edgekd.cli.tables import wide_console

        print_table(found, wide_console())
    if not all(each["up"] for each in found):
        raise click.exceptions.Exit(ExitCode.FAILED)


async def _ask_all(addresses: tuple[str, ...], timeout: float, exchange: ExchangeConfig) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(_ask(address, timeout, exchange) for address in addresses)))


async def _ask(address: str, timeout: float, exchange: ExchangeConfig) -> dict[str, Any]:
    from edgekd.protocol.frames import WITHOUT_PREDICTIONS
    from peer.network.asking import ask_status
    from peer.node.access import key_folder
    from peer.transports.by_name import make_transport

    transport = make_transport(exchange.transport, WITHOUT_PREDICTIONS, key_folder(exchange.certs))
    try:
        status = await ask_status(transport, address, timeout=timeout)
    except OSError as error:
        return {"address": address, "up": False, **NOTHING, "error": str(error)}
    finally:
        await transport.close()
    return {"address": address, "up": True, **NOTHING, **dataclasses.asdict(status)}


def print_table(found: list[dict[str, Any]], console: Any) -> None:
    """Print a row for each peer, explanations of the columns, the files that peers cannot write, and the errors.

    Args:
        found: for each address the fields of its status, as ``--json`` prints them.
        console: where to print.
    """
    from edgekd.cli.columns import Column, fitted, shown_titles

    columns = [Column("address", justify="left"), Column("peer", justify="left"), Column("state", justify="left")]
    columns += [Column("step"), Column("round", 9), Column("loss", 4), Column("distil", 8), Column("accuracy")]
    columns += [Column("lessons", 5), Column("neighbours up", 1), Column("age", 3), Column("disagreement", 6)]
    columns += [Column("sent", 7), Column("received", 11), Column("replaced", 10), Column("refused", 2)]
    table = fitted(columns, [[_row(each) for each in found]], console)
    console.print(table)
    shown = shown_titles(table)
    for title, meaning in MEANINGS.items():
        if title in shown:
            say(f"{title}: {meaning}.")
    for each in found:
        if not each["up"]:
            say(each["error"])
        elif each["failing"]:
            say(f"{each['address']} cannot write to its folder: {', '.join(each['failing'])}")


def _row(of: dict[str, Any]) -> list[str]:
    from edgekd.cli.tables import accuracy_on
    from edgekd.protocol.amounts import bytes_text, steps_text

    if not of["up"]:
        return [of["address"], "-", of["state"], *["-"] * 13]
    neighbours = of["neighbours"]
    apart = max(((n["disagreement"], n["id"]) for n in neighbours if n["disagreement"] is not None), default=None)
    ages = [n["age"] for n in neighbours if n["up"] and n["age"] is not None]
    return [
        of["address"],
        _text(of["id"]),
        of["state"],
        steps_text(of["step"], of["steps"]),
        _text(of["round"]),
        _loss(of["loss_labels"], 3),
        _loss(of["loss_distil"], 4),
        accuracy_on(of["accuracy"], of["evaluation_images"]),
        "-" if of["first_step"] is None else str(of["lessons"]),  # its protocol is older than 1.5, or it has not begun
        f"{sum(n['up'] for n in neighbours)}/{len(neighbours)}",
        f"{min(ages)}-{max(ages)}" if ages else "-",
        f"{apart[0]:.2f} of {apart[1]}" if apart else "-",
        bytes_text(of["bytes_sent"]),
        bytes_text(of["bytes_received"]),
        str(sum(n["replaced"] for n in neighbours)),
        ", ".join(f"{why} {count}" for why, count in of["refused"].items()) or "-",
    ]


def _loss(loss: float | None, digits: int) -> str:
    return "-" if loss is None else f"{loss:.{digits}f}" if abs(loss) < 1e4 else f"{loss:.1e}"


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)

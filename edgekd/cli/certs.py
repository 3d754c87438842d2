"""``edgekd certs``: makes, renews and revokes the keys of peers and observers."""

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekd.cli.leftovers import leave_no_empty_folder
from edgekd.cli.lines import say
from edgekd.cli.options import PATH
from edgekd.errors import ConfigError

if TYPE_CHECKING:
    from edgekd.protocol.holders import Holder

EXAMPLES = """
\b
Examples:
  edgekd certs --ids 0,1,2                # certs/peer-0 goes to the box of peer 0, and so on
  edgekd certs --ids 3                    # later: one more peer of the same group
  edgekd certs --observer office          # certs/observer-office, for `edgekd status --certs` on a PC
  edgekd certs --ids 1 --renew            # a new key for peer 1, whose old one expires
  edgekd certs --revoke 2,observer-office # shut these keys out
"""

DAYS = 825


@click.command(epilog=EXAMPLES)
@click.option("--ids", "listed", metavar="IDS", help="Ids of the peers to make keys for, such as 0,1,2.")
@click.option(
    "--observer",
    is_flag=False,
    flag_value="pc",
    metavar="[NAME]",
    help="Make keys that allow a box to ask peers for their status, and nothing else; default NAME: pc.",
)
@click.option("--revoke", metavar="NAMES", help="Revoke the keys of these peers and observers, such as 2,observer-pc.")
@click.option(
    "--out",
    type=PATH,
    default=Path("certs"),
    show_default=True,
    metavar="DIR",
    help="Folder of the group's keys, old and new.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    help=f"Days for which a certificate is valid; every TLS library accepts the default, {DAYS}.",
)
@click.option(
    "--renew",
    is_flag=True,
    help="Replace the keys of these peers by new ones; old certificates stay valid until they expire.",
)
def command(
    listed: str | None, observer: str | None, revoke: str | None, out: Path, days: int | None, renew: bool
) -> None:
    """Make the keys with which peers prove their identity: an authority, and one folder for the box of each peer.

    Existing keys are overwritten only with --renew.
    """
    from edgekd.protocol.addresses import ids
    from edgekd.protocol.holders import observer as observer_named

    wanted: list[Holder] = [] if listed is None else [*ids(listed)]
    wanted += [] if observer is None else [observer_named(observer)]
    if revoke is not None:
        if wanted or renew or days:
            raise ConfigError("--revoke shuts keys out: it goes with none of --ids, --observer, --renew and --days")
        _revoke(out, revoke)
    elif wanted:
        _make(out, wanted, days or DAYS, renew)
    else:
        raise ConfigError(
            "say whose keys: --ids 0,1,2 makes those of peers, --observer one that may ask for the status"
        )


def _make(out: Path, wanted: "list[Holder]", days: int, renew: bool) -> None:
    from edgekd.files.writable import make_folder
    from edgekd.keys.keyring import make_keys
    from edgekd.protocol.holders import folder_name, spoken

    folders = {each: out / folder_name(each) for each in wanted}
    leave_no_empty_folder(out)
    if not all(folder.is_dir() for folder in (out / "ca", *folders.values())):
        make_folder(out)  # not if all exist: in a container `out` may be read-only, with a volume for each folder
    new_group = not (out / "ca" / "cert.pem").exists()
    had = {each for each in wanted if (folders[each] / "cert.pem").exists()}
    others = make_keys(out, wanted, datetime.now(timezone.utc), days, renew=renew)
    if new_group:
        say(f"{out / 'ca'}: a new authority, for a new group")
    for each in wanted:
        done = "made" if each not in had else "renewed" if renew else "kept as it was"
        for_what = f"the box of {spoken(each)} needs, for --certs"
        if not isinstance(each, int):
            for_what = f"{spoken(each)} needs, for `edgekd status --certs`"
        say(f"{folders[each]}: {done}; all that {for_what}")
    if others:
        to = ", ".join(str(out / folder_name(each) / "curve") for each in others)
        say(f"with --transport zmq copy {to} to those peers' boxes, too: new keys are in it; grpc needs nothing")
    say(f"{out / 'ca' / 'key.pem'} lets anybody in: keep it here, and give it to no box")


def _revoke(out: Path, names: str) -> None:
    from edgekd.keys.keyring import revoke
    from edgekd.protocol.holders import holders, spoken

    whose = holders(names)
    copies = revoke(out, whose)
    say(f"shut out: {', '.join(map(spoken, whose))}")
    for path in copies:
        say(f"copy {path} into the folder of --certs on the box of {path.parent.name.replace('-', ' ')}")
    if copies:
        say("a peer that runs needs no restart: it reads the list within a second, and ends their streams")

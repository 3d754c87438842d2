"""``edgekd certs``: the keys by which peers know one another."""

from datetime import datetime, timezone
from pathlib import Path

import click

from edgekd.cli.leftovers import leave_no_empty_folder
from edgekd.cli.lines import say
from edgekd.cli.options import PATH

EXAMPLES = """
\b
Examples:
  edgekd certs --ids 0,1,2                # certs/peer-0 goes to the box of peer 0, and so on
  edgekd certs --ids 3                    # later: one more peer of the same group
  edgekd certs --ids 1 --renew            # a new key for peer 1, whose old one expires
"""

DAYS = 825


@click.command(epilog=EXAMPLES)
@click.option("--ids", "listed", metavar="IDS", required=True, help="The peers to make keys for, such as 0,1,2.")
@click.option(
    "--out",
    type=PATH,
    default=Path("certs"),
    show_default=True,
    metavar="DIR",
    help="The group's keys, old and new.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=DAYS,
    show_default=True,
    help="How long a peer's certificate is valid; 825 is the longest that every TLS library takes.",
)
@click.option(
    "--renew",
    is_flag=True,
    help="Make new keys for these peers, in place of those that they have; old certificates stay valid to their end.",
)
def command(listed: str, out: Path, days: int, renew: bool) -> None:
    """Make the keys by which peers know one another: an authority, and for each peer a folder that goes to its box.

    Nothing that is there is overwritten, unless --renew is given.
    """
    from edgekd.files.writable import make_folder
    from edgekd.keys.keyring import make_keys
    from edgekd.protocol.addresses import ids

    wanted = ids(listed)
    leave_no_empty_folder(out)
    if not all((out / name).is_dir() for name in ("ca", *(f"peer-{id}" for id in wanted))):
        make_folder(out)  # else it may be read-only: in a container it holds a volume a folder
    new_group = not (out / "ca" / "cert.pem").exists()
    had = {id for id in wanted if (out / f"peer-{id}" / "cert.pem").exists()}
    others = make_keys(out, wanted, datetime.now(timezone.utc), days, renew=renew)
    if new_group:
        say(f"{out / 'ca'}: a new authority, for a new group")
    for id in wanted:
        done = "made" if id not in had else "renewed" if renew else "kept as it was"
        say(f"{out / f'peer-{id}'}: {done}; all that the box of peer {id} needs, for --certs")
    if others:
        to = ", ".join(str(out / f"peer-{id}" / "curve") for id in others)
        say(f"with --transport zmq copy {to} to those peers' boxes, too: new keys are in it; grpc needs nothing")
    say(f"{out / 'ca' / 'key.pem'} lets anybody in: keep it here, and give it to no box")

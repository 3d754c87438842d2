"""``edgekd public``: makes or fetches the public file, which all peers of a group share."""

from pathlib import Path
from typing import Any

import click

from edgekd.cli.bars import decoding, fetching
from edgekd.cli.leftovers import leave_no_empty_folder
from edgekd.cli.lines import say
from edgekd.cli.options import PATH, settings
from edgekd.config import PUBLIC_AUGMENTATION_OF_PICTURES, Config, ExchangeConfig
from edgekd.errors import ConfigError
from edgekd.files.writable import make_folder


@click.command()
@click.argument("images", nargs=-1, type=PATH)
@settings("data", "exchange", only=("size", "public_augment", "transport", "certs"))
@click.option("--classes", metavar="NAME,...", help="Names of all classes of the group, in order.")
@click.option("--from", "source", metavar="[ID@]HOST:PORT", help="Fetch the public file from the peer at this address.")
@click.option("-o", "--out", type=PATH, metavar="FILE", required=True, help="File to write.")
def command(config: Config, images: tuple[Path, ...], classes: str | None, source: str | None, out: Path) -> None:
    """Make the public file from unlabelled pictures. IMAGES are files, or folders without subfolders.

    Make the file once and copy it to each box, or fetch it from a peer that has it. The default size is 64 pixels.

    \b
    Examples:
      edgekd public street/ yard/ --classes cat,dog,person -o public.safetensors
      edgekd public photos/*.jpg --classes cat,dog --size 96 --public-augment crop -o public.safetensors
      edgekd public --from 0@box-a:7000 --certs certs/peer-1 -o public.safetensors
    """
    if bool(source) == bool(images):
        raise ConfigError("name IMAGES to make the file of, or with --from the peer to fetch it from")
    if out.exists():
        raise ConfigError(
            f"{out} is there already; a group's public file is made once: choose another --out or delete it"
        )
    leave_no_empty_folder(out.parent)
    make_folder(out.parent)
    public = _fetched(source, config.exchange, out) if source else _made(config, images, classes, out)
    about = f"{len(public)} images of {public.images.shape[-1]} px, {len(public.classes)} classes"
    say(f"{out}: {about}, augmentation {public.augment}, sha256 {public.sha256}")


def _made(config: Config, images: tuple[Path, ...], classes: str | None, out: Path) -> Any:
    from edgekd.data.public import public_from_pictures
    from edgekd.data.sources import SIZES

    if classes is None:
        raise ConfigError("name what the group tells apart, in order: --classes cat,dog,person")
    names = [name.strip() for name in classes.split(",")]
    size = config.data.size or SIZES["folder"]
    augment = config.data.public_augment or PUBLIC_AUGMENTATION_OF_PICTURES  # whatever --data is: its default is digits
    public = public_from_pictures(images, names, size, augment, decoding())
    public.save(out)
    return public


def _fetched(source: str, exchange: ExchangeConfig, out: Path) -> Any:
    from edgekd.contract import load_public
    from peer.network.joining import fetch
    from peer.node.access import check_addresses, key_folder

    check_addresses([source], exchange.certs)
    _, public = fetch(source, out, load_public, exchange.transport, key_folder(exchange.certs), watch=fetching)
    return public

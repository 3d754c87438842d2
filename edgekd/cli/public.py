"""``edgekd public``: the one file that a group shares."""

from pathlib import Path

import click

from edgekd.cli.options import settings
from edgekd.config import Config
from edgekd.errors import ConfigError


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@settings("data", only=("size", "public_augment"))
@click.option("--classes", metavar="NAME,...", required=True, help="What the group tells apart, in order.")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE", required=True, help="Where to write it.")
def command(config: Config, images: tuple[Path, ...], classes: str, out: Path) -> None:
    """Make the public file out of unlabelled pictures: IMAGES are files and flat folders of them.

    Make it once and copy it to each box. Default size 64 pixels.

    \b
    Examples:
      edgekd public street/ yard/ --classes cat,dog,person -o public.safetensors
      edgekd public photos/*.jpg --classes cat,dog --size 96 --public-augment crop -o public.safetensors
    """
    from edgekd.public import public_from_pictures
    from edgekd.sources import SIZES

    if out.exists():
        raise ConfigError(
            f"{out} is there already; a group's public file is made once: choose another --out or delete it"
        )
    names = [name.strip() for name in classes.split(",")]
    size = config.data.size or SIZES["folder"]
    public = public_from_pictures(images, names, size, config.data.public_augment or "none")
    public.save(out)
    about = f"{len(public)} images of {size} px, {len(names)} classes, augmentation {public.augment}"
    click.echo(f"{out}: {about}, sha256 {public.sha256}")

"""``edgekd split``: writes a data set as files, one shard for each box."""

from pathlib import Path

import click

from edgekd.cli.bars import decoding, writing
from edgekd.cli.leftovers import leave_no_empty_folder
from edgekd.cli.lines import say
from edgekd.cli.options import PATH, settings
from edgekd.config import Config

FLAGS = (
    *("data", "limit", "size", "clients", "iid", "gamma", "dirichlet", "primary"),
    *("eval_fraction", "public_fraction", "data_seed", "seed", "public_augment"),
)


@click.command()
@settings("data", "train", only=FLAGS)
@click.option("--out", type=PATH, metavar="DIR", required=True, help="Folder to write; it must not hold files.")
def command(config: Config, out: Path) -> None:
    """Split a data set into files: one shard for each box, a common evaluation set and the public file.

    Writes DIR/public.safetensors, DIR/eval/CLASS/*.png and DIR/client-I/private/CLASS/*.png. Without --iid, --gamma or
    --dirichlet the split is skewed with gamma 15 (sun397: 10).

    \b
    Examples:
      edgekd split --out shards
      edgekd split --data folder:photos --size 96 --clients 5 --iid --out shards
      edgekd split --data cifar10 --gamma 15 --seed 1 --out shards
      edgekd peer --id 0 --private folder:shards/client-0/private --public shards/public.safetensors \\
          --eval folder:shards/eval --certs certs/peer-0 --listen 0.0.0.0:7000 --peers 1@box-b:7000,2@box-c:7000
    """
    from edgekd.data.public import PublicSet
    from edgekd.data.split_files import write_split

    leave_no_empty_folder(out)
    written = write_split(config.data, config.data_seed, out, decoding(), writing)
    public = PublicSet.load(out / "public.safetensors")
    say(f"{out / 'public.safetensors'}: the public file, {len(public)} images, for every box")
    for folder, counts in written.items():
        shown = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items(), key=lambda c: -c[1])[:10])
        more = f" and {len(counts) - 10} more classes" if len(counts) > 10 else ""
        say(f"{folder}: {sum(counts.values())} images ({shown}{more})")
    if missing := [name for name in public.classes if name not in written[out / "eval"]]:
        shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more classes" if len(missing) > 10 else "")
        advice = "use more pictures, a larger --eval-fraction or another --seed"
        say(f"{out / 'eval'} has no picture of {shown}: no accuracy will tell of them; {advice}", err=True)

"""Writing a split as files, so that each box can be given only its own shard."""

from collections.abc import Callable
from pathlib import Path

import torch
from torchvision.transforms.v2 import functional as F

from edgekd.config import DataConfig
from edgekd.data.datasets import open_common
from edgekd.data.decoding import IN_PROCESS, Decoding
from edgekd.data.pictures import is_of_system
from edgekd.data.sources import Labelled
from edgekd.errors import ConfigError
from edgekd.files.watching import Watch, unwatched
from edgekd.files.writable import make_folder


def write_split(
    config: DataConfig, seed: int, out: Path, how: Decoding = IN_PROCESS, watch: Watch = unwatched
) -> dict[Path, dict[str, int]]:
    """Write ``OUT/eval/CLASS/*.png``, ``OUT/client-I/private/CLASS/*.png`` and, last, ``OUT/public.safetensors``.

    Training on these files equals training on the common data set: the pixels and their order are the same.

    Args:
        config: the data set and the kind of split.
        seed: the seed of the split, unless the config has a `data_seed`.
        out: the folder; it is created if it does not exist. It may contain empty folders, such as mounted volumes, and
            files that operating systems leave behind, but no other files.
        how: how picture files are decoded.
        watch: is called with the total number of pictures; its context is called with each number written.

    Returns:
        For each folder of pictures, the number of pictures of each class.

    Raises:
        ConfigError: `out` contains files or cannot be written to, or the data is missing or does not fit the settings.
    """
    if out.is_dir() and any(not path.is_dir() and not is_of_system(path) for path in out.rglob("*")):
        raise ConfigError(f"{out} is not empty: choose another --out, or remove it first")
    make_folder(out)
    common = open_common(config, seed, how)
    parts = {out / "eval": common.split.evaluation}
    parts |= {out / f"client-{id}" / "private": shard for id, shard in enumerate(common.split.shards)}
    written = {}
    with watch(sum(map(len, parts.values()))) as advance:
        for folder, indices in parts.items():
            written[folder] = _write_pictures(common.labelled(indices), common.source.classes, folder, advance)
    common.public().save(out / "public.safetensors")
    return written


def _write_pictures(
    part: Labelled, classes: tuple[str, ...], folder: Path, advance: Callable[[int], None]
) -> dict[str, int]:
    for number, (image, label) in enumerate(zip(part.images, part.labels.tolist(), strict=True)):
        (folder / classes[label]).mkdir(parents=True, exist_ok=True)
        # The numbers in the names keep the order of the images. PNG is lossless, so the fastest level is enough.
        F.to_pil_image(image).save(folder / classes[label] / f"{number:07d}.png", compress_level=1)
        advance(1)
    counts = torch.bincount(part.labels, minlength=len(classes)).tolist()
    return {name: count for name, count in zip(classes, counts, strict=True) if count}

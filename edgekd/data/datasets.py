"""The data of one peer: a shard of a common data set, or pictures of the peer's own box."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekd.config import DataConfig, Images
from edgekd.data.copies import warn_of_copies
from edgekd.data.decoding import IN_PROCESS, Decoding
from edgekd.data.held_out import NOTHING, HeldOut, by_position, choose, divide, grown, own_seed, pixel_digests
from edgekd.data.images import none_readable
from edgekd.data.own_dataset import of_dataset
from edgekd.data.private_folder import look_through, newest
from edgekd.data.public import PublicSet, make_public
from edgekd.data.sources import Labelled, Source, folder, merged, open_source
from edgekd.data.splits import Indices, Split, permutation, split
from edgekd.errors import ConfigError
from edgekd.extensions import refuse_object, spelt
from edgekd.paths import expanded
from edgekd.seeds import derive

__all__ = ["CommonData", "Labelled", "PeerData", "load_group", "load_peer_data", "load_pooled_data", "open_common"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PeerData:
    """All data that one peer uses."""

    classes: tuple[str, ...]
    private: Labelled
    public: PublicSet
    evaluation: Labelled
    held_out: HeldOut | None = None  # only if the pictures are the box's own; None: a common data set
    unreadable: frozenset[Path] = frozenset()  # of the box's own pictures, those that could not be read at the start


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CommonData:
    """A labelled data set and its split among the clients. No picture is decoded yet."""

    source: Source
    split: Split
    augment: str

    def labelled(self, indices: Indices) -> Labelled:
        """Decode these images, ordered by label and then by index, as a folder of them would be read."""
        labels = self.source.labels[indices]
        return self.source.load(indices[np.lexsort((indices, labels))])

    def public(self) -> PublicSet:
        """Decode the public images."""
        images = self.source.load(self.split.public).images
        return make_public(images, self.source.classes, self.augment)


def open_common(config: DataConfig, seed: int, how: Decoding = IN_PROCESS) -> CommonData:
    """Open the data set of ``--data`` and split it for all clients.

    Args:
        config: the data set and the kind of split.
        seed: the seed of the split, unless the config has a `data_seed`.
        how: how its picture files will be decoded.

    Raises:
        ConfigError: there is no such data set, or it has too few images or classes.
    """
    seed = seed if config.data_seed is None else config.data_seed
    if isinstance(config.data, str):
        source = open_source(config.data, config.size, _with_cache(how, config))
    else:
        source = of_dataset(config.data, config.size)
    if len(source.classes) < 2:
        raise ConfigError(f"{source.where} has one class, {source.classes[0]}; two or more are needed")
    chosen = np.arange(len(source.labels))
    if config.limit is not None:
        chosen = np.sort(permutation(len(chosen), derive(seed, "limit"))[: config.limit])
    parts = split(source.labels[chosen], config, seed)
    whole = Split(
        evaluation=chosen[parts.evaluation],
        public=chosen[parts.public],
        shards=tuple(chosen[shard] for shard in parts.shards),
    )
    if source.files:
        trained = [source.files[index] for shard in whole.shards for index in shard]
        warn_of_copies([source.files[index] for index in whole.evaluation], trained, spelt(config.data))
    return CommonData(source=source, split=whole, augment=config.public_augmentation)


def load_peer_data(
    config: DataConfig, id: int, seed: int, run: Path | None = None, how: Decoding = IN_PROCESS
) -> PeerData:
    """Load the data of peer `id`: its own shard, the public set and the evaluation set. No other images are decoded.

    Args:
        config: the settings, with a common data set, or with --private and --public.
        id: the peer's id; with a common data set it is below `config.clients`.
        seed: the seed of the split, see `open_common`. If the peer has its own pictures and no --eval, it also chooses
            which of them are held out.
        run: the peer's folder. What an earlier start there has held out stays held out.
        how: how picture files are decoded.

    Raises:
        ConfigError: the data is missing or does not fit the settings.
    """
    if config.private is not None:
        return _own_files(config, id, seed, run, how)
    if not 0 <= id < config.clients:
        raise ConfigError(f"id must be from 0 to clients - 1 = {config.clients - 1}, got {id}; see --clients")
    common = open_common(config, seed, how)
    return _peers(common, [common.split.shards[id]])[0]


def load_group(config: DataConfig, seed: int, how: Decoding = IN_PROCESS) -> list[PeerData]:
    """Load the data of all clients, for learners in one process; they share the public set and the evaluation set.

    Raises:
        ConfigError: the data is missing or does not fit the settings.
    """
    common = _common_only(config, seed, how)
    return _peers(common, common.split.shards)


def load_pooled_data(config: DataConfig, seed: int) -> PeerData:
    """Load the shards of all clients as one, for a model that is trained as if the clients shared their images.

    Raises:
        ConfigError: the data is missing or does not fit the settings.
    """
    common = _common_only(config, seed)
    return _peers(common, [np.concatenate(common.split.shards)])[0]


def load_evaluation(
    config: DataConfig, id: int, classes: tuple[str, ...], size: int, seed: int, run: Path, how: Decoding = IN_PROCESS
) -> Labelled:
    """Load the evaluation images of peer `id`: those of --eval folder:PATH, else those of the peer's run in `run`.

    Args:
        config: the settings of the data.
        id: the peer's id.
        classes: the class names that the images must have.
        size: height and width of the images, in pixels.
        seed: as in `load_peer_data`.
        run: the peer's folder.
        how: how picture files are decoded.

    Raises:
        ConfigError: the data is missing, does not fit the settings, or has other classes.
    """
    if config.eval is not None:
        return _all_of(config.eval, size, classes, _with_cache(how, config), "the checkpoint")
    if config.private is not None:
        own = _own_files(config, id, seed, run, how)
        known, evaluation = own.classes, own.evaluation
    else:
        common = open_common(dataclasses.replace(config, size=size), seed, how)
        known, evaluation = common.source.classes, common.labelled(common.split.evaluation)
    if known != classes:
        raise ConfigError(
            f"the checkpoint knows {', '.join(classes)}, the data {', '.join(known)}; give --eval a folder with the "
            "checkpoint's classes"
        )
    return evaluation


def _common_only(config: DataConfig, seed: int, how: Decoding = IN_PROCESS) -> CommonData:
    if config.private is not None:
        raise ConfigError("several peers in one command share a data set: use --data instead of --private and --public")
    return open_common(config, seed, how)


def _peers(common: CommonData, shards: Iterable[Indices]) -> list[PeerData]:
    public, evaluation = common.public(), common.labelled(common.split.evaluation)
    return [
        PeerData(classes=common.source.classes, private=common.labelled(shard), public=public, evaluation=evaluation)
        for shard in shards
    ]


def _own_files(config: DataConfig, id: int, seed: int, run: Path | None, how: Decoding) -> PeerData:
    return own_pictures(config, own_public(config, how), id, seed, run, how, strict=config.rescan is None)


def own_public(config: DataConfig, how: Decoding = IN_PROCESS) -> PublicSet:
    """Read the public file of a box that has its own pictures; `how` is told how much was read.

    Raises:
        ConfigError: no file is named, it is not a public file, or its size or augmentation differs from the settings.
    """
    if config.public is None:
        raise ConfigError(
            "--private goes with --public FILE; `edgekd peer` fetches it where --peers or --discover is given"
        )
    public = PublicSet.load(expanded(config.public), how.watch_bytes)
    size = public.images.shape[-1]
    for name, asked, has in (("size", config.size, size), ("public-augment", config.public_augment, public.augment)):
        if asked is not None and asked != has:
            raise ConfigError(
                f"{name} is {asked}, but the public file has {has}: leave --{name} out, or make the file anew"
            )
    return public


def own_pictures(
    config: DataConfig, public: PublicSet, id: int, seed: int, run: Path | None, how: Decoding, *, strict: bool
) -> PeerData:
    """Load the data of a box that has its own pictures.

    The arguments are explained at `load_peer_data`, and `strict` at `edgekd.data.sources.folder`.

    Raises:
        ConfigError: the pictures are missing, or do not fit the public file or the settings.
    """
    assert config.private is not None  # the caller has checked it
    size = public.images.shape[-1]
    how = _with_cache(how, config)
    source = dataclasses.replace(
        _labelled("private", config.private, size, public.classes, strict=strict), decoding=how
    )
    private, unreadable = _newest(source, config.private, config.keep)
    before = HeldOut.load(run) if run else None
    held, evaluation = NOTHING, private
    if config.eval is None or before not in (None, NOTHING):
        held, private, evaluation = _hold_out(private, before, own_seed(seed, id), run)
    if config.eval is not None:
        evaluation = _all_of(config.eval, size, public.classes, how)
        warn_of_copies(evaluation.files, private.files, spelt(config.eval))
    return PeerData(
        classes=public.classes,
        private=private,
        public=public,
        evaluation=evaluation,
        held_out=held,
        unreadable=unreadable,
    )


def _newest(source: Source, private: Images, keep: int | None) -> tuple[Labelled, frozenset[Path]]:
    """The pictures to keep in memory; and those that cannot be read, instead of which older ones are."""
    if keep is None:
        whole = source.load(np.arange(len(source.labels)))
        return whole, frozenset(source.files) - {*whole.files}
    root = folder_of(private)
    places = {file: place for place, file in enumerate(source.files)}
    there = {file: stamp for file, stamp in look_through(root).pictures.items() if file in places}
    images: Labelled | None = None
    unreadable: frozenset[Path] = frozenset()
    # If other pictures go, one of the newest remains one of the newest. So every picture that is read is kept.
    while due := newest(there, source.classes, keep).keys() - {*(images.files if images else ())}:
        more = source.read(sorted(places[file] for file in due))
        images = merged(images, more, range(len(more.files))) if images else more
        unreadable |= due - {*more.files}
        there = {file: stamp for file, stamp in there.items() if file not in unreadable}
    if not images or not images.files:
        raise none_readable(len(unreadable), source.where)
    source.warn_of_alike(images)
    return images, unreadable


def _hold_out(
    images: Labelled, before: HeldOut | None, seed: int, run: Path | None
) -> tuple[HeldOut, Labelled, Labelled]:
    """What is held out now, the images to train on, and the images to evaluate on."""
    if before == NOTHING:
        raise ConfigError(f"{run} has held no picture out, since it was evaluated on --eval: give --eval folder:PATH")
    digests = pixel_digests(images.images)
    if before is None and run is not None and any(run.glob("checkpoint-*.safetensors")):
        before = by_position(digests, seed, run)
    held = grown(before, digests, seed) if before else choose(digests, seed)
    return held, *divide(images, digests, held)


def _all_of(
    setting: Images, size: int, classes: tuple[str, ...], how: Decoding, known_to: str = "the public file"
) -> Labelled:
    """All pictures of "folder:PATH", or of a data set object."""
    pictures = dataclasses.replace(_labelled("eval", setting, size, classes, known_to), decoding=how)
    return pictures.load(np.arange(len(pictures.labels)))


def _with_cache(how: Decoding, config: DataConfig) -> Decoding:
    return dataclasses.replace(how, cache=expanded(config.cache) if config.cache else None)


def _labelled(
    name: str,
    setting: Images,
    size: int,
    classes: tuple[str, ...],
    known_to: str = "the public file",
    *,
    strict: bool = True,
) -> Source:
    """The pictures of a setting, which is "folder:PATH" or a data set, labelled by their indices in `classes`.

    Args:
        name: the name of the setting.
        setting: its value.
        size: side of the images, pixels.
        classes: the class names of the group.
        known_to: where `classes` come from, for error messages.
        strict: whether a folder with an unknown class is an error.
    """
    if not isinstance(setting, str):
        return of_dataset(setting, size, classes, known_to)
    refuse_object(setting, name)
    return folder(folder_of(setting), size, classes, known_to, strict=strict)


def folder_of(setting: Images) -> Path:
    """The PATH of "folder:PATH"."""
    assert isinstance(setting, str)  # callers have checked that it is not an object
    return expanded(setting.partition(":")[2])

"""The settings of a common data set, as peers tell them in their Hello.

They explain why two peers have different public images, or why their shards (the images of each peer) overlap. They
are never a reason to refuse a peer: only the contracts decide whether two peers fit.
"""

from collections.abc import Mapping

from edgekd.protocol.messages import Hello

OF_PUBLIC = ("data", "size", "limit", "eval-fraction", "public-fraction", "seed")  # determine the public images
OF_SHARDS = ("clients", "split", "primary")  # determine which peer gets which of the other images


def as_text(settings: Mapping[str, object]) -> str:
    """The settings as the text that a Hello carries, for example ``data digits, size 32``."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def why_public_differs(ours: Hello, theirs: Hello) -> str:
    """A text for people that explains why two peers have different public images."""
    here, there = ours.contract.public_sha256[:8], theirs.contract.public_sha256[:8]
    hashes = f"SHA-256 {here}... here, {there}... there"
    if not ours.common_data:
        return f"public file: {hashes}; copy one box's file to the other"
    if not theirs.common_data:
        return f"public images: {hashes}; with --data these must be alike on all boxes: {', '.join(OF_PUBLIC)}"
    if differing := _differing(ours, theirs, OF_PUBLIC):
        return f"public images: {'; '.join(differing)}"
    return f"public images: {hashes}, with the same settings; the boxes have other files of the data set"


def shard_differences(ours: Hello, theirs: Hello) -> str | None:
    """The settings that divide a common data set among the peers and differ; None: none differs, as far as is known."""
    if not (ours.common_data and theirs.common_data):
        return None
    return "; ".join(_differing(ours, theirs, OF_SHARDS)) or None


def _differing(ours: Hello, theirs: Hello, names: tuple[str, ...]) -> list[str]:
    here, there = _settings(ours), _settings(theirs)
    pairs = {name: (here.get(name, "not set"), there.get(name, "not set")) for name in names}
    return [f"{name}: {one} here, {other} there" for name, (one, other) in pairs.items() if one != other]


def _settings(hello: Hello) -> dict[str, str]:
    parts = (part.partition(" ") for part in hello.common_data.split(", "))
    return {name: value for name, _, value in parts}

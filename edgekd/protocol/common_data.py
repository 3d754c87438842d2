"""The settings of a common data set in Hellos: they say why public images differ, and that shards overlap.

Nobody is refused because of them: whether two peers fit is told by their contracts.
"""

from collections.abc import Mapping

from edgekd.protocol.messages import Hello

OF_PUBLIC = ("data", "size", "limit", "eval-fraction", "public-fraction", "seed")  # decide on the public images
OF_SHARDS = ("clients", "split", "primary")  # decide which of the others belong to whom


def as_text(settings: Mapping[str, object]) -> str:
    """``data digits, size 32``: what a Hello says of these settings, by their names."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def why_public_differs(ours: Hello, theirs: Hello) -> str:
    """Why the public images of two peers are not the same, for people."""
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
    """Which settings differ that deal a common data set out to the peers; None: none do, as far as they are known."""
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

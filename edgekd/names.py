"""The names of measures and combinations, without importing torch, so that ``--help`` answers at once."""

import difflib
from collections.abc import Iterable

MEASURE_NAMES = ("ce", "kl", "js", "td", "sed", "mse")  # the keys of `edgekd.losses.measures.MEASURES`
NWAY_MEASURES = ("js", "sed")  # the measures with a form for n equal predictions
NWAY = "nway"  # the combination that uses this form: one divergence of own and received predictions together
AGREEMENT = "agreement"  # the combination that weighs each neighbour by how far it has agreed with the others so far
# the keys of `edgekd.losses.combinations.COMBINATIONS`, AGREEMENT and NWAY
COMBINATION_NAMES = ("sum", "average", "geometric", "confident", "median", "trimmed", AGREEMENT, NWAY)
TOPOLOGY_NAMES = ("full", "ring", "regular")  # the last takes a number: regular:D
WEIGHT_NAMES = ("imagenet", "none")  # weights that are not files
DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")
LIE_NAMES = ("random", "flip", "constant", "swap")  # the keys of `edgekd.simulation.lies.LIES`


def check_entries(table: str, entries: Iterable[object], names: Iterable[object]) -> None:
    """Check that a table has one entry for each name, in the same order, and no other. Tables call it at import.

    Raises:
        RuntimeError: it has not; this is a bug of edgekd.
    """
    found, expected = list(entries), list(names)
    if found != expected:
        raise RuntimeError(f"{table} must have one entry for each of {expected}, in this order; it has {found}")


def meant(name: object, known: Iterable[str]) -> str:
    """The hint "did you mean NAME?" with the known name nearest to `name`; "" if none is near or `name` is known."""
    if name in (known := list(known)):
        return ""  # the name is right, so something else is wrong
    spelt = {each.lower(): each for each in known}
    near = difflib.get_close_matches(str(name).lower(), spelt, n=1)
    return f"did you mean {spelt[near[0]]}?" if near else ""


def with_nearest(message: str, name: object, known: Iterable[str]) -> str:
    """Append the hint of `meant` to an error message about an unknown name, if a known name is near."""
    hint = meant(name, known)
    return f"{message}; {hint}" if hint else message

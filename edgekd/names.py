"""What measures and combinations are called: known without importing torch, so that ``--help`` answers at once."""

import difflib
from collections.abc import Iterable

MEASURE_NAMES = ("ce", "kl", "js", "td", "sed", "mse")  # the keys of `edgekd.losses.measures.MEASURES`
NWAY_MEASURES = ("js", "sed")  # those with a form for n predictions that are all alike
NWAY = "nway"  # the combination that takes that form: one divergence of own and remote predictions together
AGREEMENT = "agreement"  # the combination that weighs each neighbour by how far it has agreed with the rest so far
# the keys of `edgekd.losses.combinations.COMBINATIONS`, AGREEMENT and NWAY
COMBINATION_NAMES = ("sum", "average", "geometric", "confident", "median", "trimmed", AGREEMENT, NWAY)
TOPOLOGY_NAMES = ("full", "ring", "regular")  # the last takes a number: regular:D
WEIGHT_NAMES = ("imagenet", "none")  # of weights that are no file
DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")
LIE_NAMES = ("random", "flip", "constant", "swap")  # the keys of `edgekd.simulation.lies.LIES`


def meant(name: object, known: Iterable[str]) -> str:
    """ "did you mean NAME?" for the known name that is nearest to a misspelt one; "" if none is near."""
    if name in (known := list(known)):
        return ""  # it is something else that is wrong
    spelt = {each.lower(): each for each in known}
    near = difflib.get_close_matches(str(name).lower(), spelt, n=1)
    return f"did you mean {spelt[near[0]]}?" if near else ""


def with_nearest(message: str, name: object, known: Iterable[str]) -> str:
    """What is said of a name that is not known, and after it the known one that is nearest, if one is near."""
    hint = meant(name, known)
    return f"{message}; {hint}" if hint else message

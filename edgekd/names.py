"""What measures and combinations are called: known without importing torch, so that ``--help`` answers at once."""

import difflib
from collections.abc import Iterable

MEASURE_NAMES = ("ce", "kl", "js", "td", "sed", "mse")  # the keys of `edgekd.losses.measures.MEASURES`
NWAY_MEASURES = ("js", "sed")  # those with a form for n predictions that are all alike
NWAY = "nway"  # the combination that takes that form: one divergence of own and remote predictions together
AGREEMENT = "agreement"  # the combination that weighs each neighbour by how far it has agreed with the rest so far
# the keys of `edgekd.losses.combinations.COMBINATIONS`, AGREEMENT and NWAY
COMBINATION_NAMES = ("sum", "average", "geometric", "confident", "median", "trimmed", AGREEMENT, NWAY)
LIE_NAMES = ("random", "flip", "constant", "swap")  # the keys of `edgekd.simulation.lies.LIES`


def meant(name: str, known: Iterable[str]) -> str:
    """ "did you mean NAME?" for the known name that is nearest to a misspelt one; "" if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else ""

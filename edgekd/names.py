"""What measures and combinations are called: known without importing torch, so that ``--help`` answers at once."""

MEASURE_NAMES = ("ce", "kl", "js", "td", "sed", "mse")  # the keys of `edgekd.measures.MEASURES`
NWAY_MEASURES = ("js", "sed")  # those with a form for n predictions that are all alike
NWAY = "nway"  # the combination that takes that form: one divergence of own and remote predictions together
COMBINATION_NAMES = ("sum", "average", "geometric", "confident", NWAY)  # `edgekd.combinations.COMBINATIONS`, and NWAY

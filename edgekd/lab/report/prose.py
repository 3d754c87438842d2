"""The texts of a report."""

from edgekd.lab.findings.stats import ACCURACY, SPREAD, TIME


def _paragraph(text: str) -> str:
    return " ".join(text.split())


TITLE = "What the sweeps have found"

OPENING = _paragraph("""
    {counts}, from {folders}. Accuracies are fractions of the evaluation set, of the last head, averaged over the
    clients.
""")

NOTHING_TO_CHOOSE = _paragraph("""
    No two cells of one seed differ in one setting alone, so there is nothing to compare. Let `edgekd sweep` run several
    values of a setting with the same seeds, such as `--measure kl,sed --seed 0,1,2`.
""")

HOW_TO_CHOOSE = (
    _paragraph("""
    Each value is compared with one of them, **paired**: two cells of the same seed with equal settings but for this
    one. In each seed the differences under all combinations of the other settings are averaged (settings: how many;
    from, to: the smallest and the largest difference of one of them); **n** is the number of seeds, and the
    **difference** is the mean over the seeds with its 95 % t interval. The two accuracies are of the same pairs.
    """),
    _paragraph(f"""
    **p** is of the two-sided t test, after Holm's correction for all values that are compared in one place. A value is
    **better** or **worse** if p is below 0.05 and the difference is {ACCURACY.margin:g} at least, and **as good** if
    the whole interval lies within {ACCURACY.margin:g} to both sides. It **depends** if it is better under some of the
    other settings and worse under others. Else it is **open**, and so it always is with fewer than three seeds, which
    give no interval.
    """),
)

OTHERS = "These settings vary, too, and can be compared: {others}."

PAPER = _paragraph("""
    The findings of "Experimenting with Information Dissimilarity for Knowledge Distillation at the Edge", tried anew
    with edgekd.
""")

HOW_TO_READ = (
    _paragraph("""
    A comparison is **paired**: two cells with equal settings but for the one under test, and with the same seed, so
    with the same data, split and initial weights. The unit is the seed: within each, the differences of all cells
    that the comparison speaks of are averaged (cells: how many), and **n** is the number of seeds that have them
    all. The **effect** is the mean over the seeds, with its 95 % t interval.
    """),
    _paragraph(f"""
    What does not count in practice is a difference of {ACCURACY.margin:g} in accuracy, of {SPREAD.margin:g} in the
    standard deviation over the clients, and of {TIME.margin:g} in the time of KL: the **margin**.
    """),
    _paragraph("""
    A claim that something is larger is **supported** if the whole interval lies above 0 and the effect is the margin
    at least, **not supported** if the whole interval lies below the margin. A claim that two things are alike is
    **supported** if the whole interval lies within the margin to both sides, **not supported** if it lies wholly
    beyond. A claim that there is no gain looks at the upper side alone. Else it is **undecided**, which is always
    between the two. With fewer than three seeds a comparison has no interval
    and is always undecided.
    """),
    _paragraph("""
    A claim about several measures or places is supported if each of its comparisons is, and not supported if one is
    not; the interval that refutes one of m comparisons is at 1 - 0.05/m. The effect shown is that of the comparison
    that decided; of several, and of several that are open, that of the weakest.
    """),
    _paragraph("""
    **Noise** is what chance alone gives: the standard deviation of one and the same cell's value over independent
    seeds, pooled over the cells that the claim speaks of, times the root of 2/n. That is the standard error of the
    difference between two cells that have nothing in common, each with n seeds. Pairing, and averaging over cells,
    make the standard error of an effect smaller than that.
    """),
)

FIGURE = _paragraph("""
    Mean accuracy over clients and seeds against alpha on {title}; vertical bars are the standard deviation over the
    clients, averaged over the seeds. alpha = 1 is each client alone, the same for all measures (dotted line); alpha =
    0, where shown, has a second head that learns from the neighbours only. A hollow marker is a single seed.
""")

PANEL_TABLES = _paragraph("""
    In the tables: mean accuracy ± standard deviation over the clients (standard error of the mean over the seeds).
    Bold is the largest of its column among the cells with the most seeds, whether or not the difference is more than
    noise.
""")

NOISE = _paragraph("""
    Scatter is the standard deviation of the same cell's mean accuracy under independent seeds, pooled over the cells;
    a seed changes split, evaluation set, initial weights and order. The error of a difference is scatter times the
    root of 2/n. The error by the images is the binomial standard error of one accuracy on the evaluation set.
""")

CONTROL = _paragraph("""
    **The control.** CE has KL's gradient, so what lies between these two is rounding, which training makes larger. A
    difference between other measures means something only if it is larger than that. JS and SED nearly agree too,
    since SED = exp(JS) - 1.
""")

SCALE = _paragraph("""
    Near agreement KL, TD and JS or SED pull with forces of 4 : 2 : 1. `matched` multiplies TD by 2, JS and SED by 4,
    so that alpha means the same for each; `raw` is the paper's. Weight multiplies the distillation loss. ± is the
    standard error over the seeds; bold is the largest of the table among the cells with the most seeds.
""")

GAP = _paragraph("""
    The share of the gap closed is the mean of together - alone over the mean of pooled - alone, paired by seed, alone
    and pooled without balance. The base is the configuration that is nearest to {base}; gains over it are paired by
    seed. Accuracy is mean ± standard deviation over the clients (standard error over the
    seeds); brackets hold 95 % intervals. Sent are predictions, to all neighbours together, over all steps.
""")

POISON = _paragraph("""
    Accuracy of the honest clients: mean ± standard error over the seeds; in brackets the change against the same
    clients, paired by seed, in the same group without liars. A liar's shard is then lost to them, so who shuts it out
    may lose something too. Liars learn as all do, but send: `random`, a class drawn for each image; `flip`, the
    mirrored class of what they believe; `constant`, always the first class, all of these with probability 0.999;
    `swap`, what they believe with the two likeliest classes swapped. Below alone a neighbour does harm.
""")

COST = _paragraph("""
    Time of one forward and backward pass as a multiple of KL's, on one thread, in float32, [batch, classes], with
    the 95 % interval over blocks of interleaved passes; from `python benchmarks/measures.py --out DIR`.
""")

RUN = "All cells together took {hours:.1f} hours of simulation, on {processors}."

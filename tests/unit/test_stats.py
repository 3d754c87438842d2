"""Comparisons over seeds, and what they say about a claim."""

import math
import random
import statistics

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edgekd.lab.findings.stats import (
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    Comparison,
    Hypothesis,
    compare,
    holm,
    judge,
    paired,
    ratio,
    scatter,
    seed_means,
)

SEEDS = range(6)
FIRST = {seed: random.Random(seed).gauss(0.5, 0.05) for seed in SEEDS}
SECOND = {seed: FIRST[seed] + random.Random(-1 - seed).gauss(0.02, 0.01) for seed in SEEDS}


def around(effect: float, half: float, n: int = 5) -> Comparison:
    """A comparison whose 95 % interval is effect ± half."""
    return Comparison(effect, half / float(scipy.stats.t.ppf(0.975, n - 1)), n)


def test_paired_interval_is_scipys() -> None:
    found = paired(SECOND, FIRST)
    theirs = scipy.stats.ttest_rel([SECOND[s] for s in SEEDS], [FIRST[s] for s in SEEDS])
    interval = theirs.confidence_interval(0.95)
    assert found.n == len(SEEDS)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_p_is_scipys_and_there_is_none_of_two_seeds() -> None:
    theirs = scipy.stats.ttest_rel([SECOND[s] for s in SEEDS], [FIRST[s] for s in SEEDS])
    assert paired(SECOND, FIRST).p == pytest.approx(theirs.pvalue)
    assert math.isnan(compare([0.1, 0.1]).p)
    assert (compare([0.1] * 4).p, compare([0.0] * 4).p) == (0.0, 1.0)


def test_holms_correction_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # as R's p.adjust has it
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    corrected = holm([0.01, math.nan, 0.02])
    assert math.isnan(corrected[1])
    assert [corrected[0], corrected[2]] == pytest.approx([0.02, 0.02])
    assert holm([]) == []


def test_only_seeds_that_both_have_are_compared() -> None:
    assert paired({0: 0.5, 1: 0.6, 7: 0.9}, {0: 0.4, 1: 0.4, 8: 0.1}) == compare([0.5 - 0.4, 0.6 - 0.4])


@pytest.mark.parametrize("claim", Hypothesis)
def test_fewer_than_three_seeds_decide_nothing(claim: Hypothesis) -> None:
    for differences in ([], [0.3], [0.3, 0.3001], [-0.3, -0.3001], [0.0, 0.0001]):
        found = compare(differences)
        assert (found.n, judge(claim, found, 0.02)) == (len(differences), UNDECIDED)
        assert (found.low, found.high) == (-math.inf, math.inf)


def test_differences_without_scatter_have_an_interval_of_no_width() -> None:
    assert compare([0.25, 0.25, 0.25]).interval() == (0.25, 0.25)


@pytest.mark.parametrize(
    ("claim", "effect", "half", "verdict"),
    [
        (Hypothesis.MORE, 0.050, 0.040, SUPPORTED),
        (Hypothesis.MORE, 0.020, 0.010, SUPPORTED),
        (Hypothesis.MORE, 0.012, 0.010, UNDECIDED),
        (Hypothesis.MORE, 0.004, 0.002, NOT_SUPPORTED),  # there, but too small to count
        (Hypothesis.MORE, 0.050, 0.060, UNDECIDED),
        (Hypothesis.MORE, 0.000, 0.019, NOT_SUPPORTED),
        (Hypothesis.MORE, -0.050, 0.040, NOT_SUPPORTED),
        (Hypothesis.ALIKE, 0.010, 0.009, SUPPORTED),
        (Hypothesis.ALIKE, -0.010, 0.015, UNDECIDED),
        (Hypothesis.ALIKE, 0.030, 0.020, UNDECIDED),
        (Hypothesis.ALIKE, 0.050, 0.020, NOT_SUPPORTED),
        (Hypothesis.ALIKE, -0.050, 0.020, NOT_SUPPORTED),
        (Hypothesis.NO_MORE, 0.010, 0.009, SUPPORTED),
        (Hypothesis.NO_MORE, -0.200, 0.100, SUPPORTED),
        (Hypothesis.NO_MORE, 0.010, 0.015, UNDECIDED),
        (Hypothesis.NO_MORE, 0.030, 0.020, UNDECIDED),
        (Hypothesis.NO_MORE, 0.050, 0.020, NOT_SUPPORTED),
    ],
)
def test_verdict_follows_the_rule(claim: Hypothesis, effect: float, half: float, verdict: str) -> None:
    assert judge(claim, around(effect, half), 0.02) == verdict


@given(
    claim=st.sampled_from(Hypothesis),
    effect=st.floats(-0.1, 0.1),
    half=st.floats(1e-4, 0.1),
    moved=st.floats(-1e-5, 1e-5),
    together=st.integers(1, 20),
)
@hypothesis_settings(deadline=None)
def test_no_verdict_turns_into_its_opposite_by_a_hairs_breadth(
    claim: Hypothesis, effect: float, half: float, moved: float, together: int
) -> None:
    verdicts = {judge(claim, around(e, half), 0.02, together) for e in (effect, effect + moved)}
    assert verdicts != {SUPPORTED, NOT_SUPPORTED}


def test_one_of_many_comparisons_needs_more_to_refute_a_claim() -> None:
    found = around(0.0, 0.019)
    assert judge(Hypothesis.MORE, found, 0.02) == NOT_SUPPORTED
    assert judge(Hypothesis.MORE, found, 0.02, together=6) == UNDECIDED


def test_many_comparisons_change_nothing_in_what_supports_a_claim() -> None:
    assert judge(Hypothesis.MORE, around(0.05, 0.049), 0.02, together=20) == SUPPORTED


def test_ratio_is_that_of_the_means_which_no_single_small_whole_rules() -> None:
    parts, wholes = [0.05, 0.06, 0.04, 0.0001], [0.10, 0.11, 0.09, 0.00001]  # the last alone would have a ratio of 10
    found = ratio(parts, wholes)
    assert found is not None
    assert found.effect == pytest.approx(sum(parts) / sum(wholes))
    assert 0.4 < found.low < found.effect < found.high < 0.6
    assert ratio([0.1, 0.1], [0.2, -0.3]) is None
    assert ratio([], []) is None


def test_interval_of_a_ratio_covers_the_truth_about_as_often_as_it_says() -> None:
    random_ = random.Random(1)
    hits = 0
    for _ in range(400):
        wholes = [random_.gauss(0.2, 0.03) for _ in range(5)]
        found = ratio([0.4 * w + random_.gauss(0, 0.02) for w in wholes], wholes)
        assert found is not None
        hits += found.low < 0.4 < found.high
    assert 0.91 < hits / 400 < 0.985


def test_more_seeds_never_undo_what_is_supported() -> None:
    for half in (0.019, 0.01, 0.001):
        assert judge(Hypothesis.MORE, around(0.02, half), 0.02) == SUPPORTED


def test_seeds_are_averaged_over_all_kinds_and_only_those_that_all_have() -> None:
    whole = dict.fromkeys(range(5), 0.1)
    assert seed_means({"a": whole, "b": dict.fromkeys(range(5), 0.3)}) == pytest.approx(dict.fromkeys(range(5), 0.2))
    assert seed_means({"a": whole, "b": {1: 0.3, 4: 0.5}}) == pytest.approx({1: 0.2, 4: 0.3})
    assert seed_means({"a": whole, "b": {9: 0.3}}) == {}, "no kind is left out for the sake of seeds"
    assert seed_means({}) == {}


def test_order_of_kinds_and_seeds_changes_no_bit_of_their_means() -> None:
    values = {kind: {seed: random.Random(f"{kind}{seed}").random() for seed in (3, 1, 2)} for kind in "cab"}
    ordered = {kind: {seed: values[kind][seed] for seed in sorted(values[kind])} for kind in "abc"}
    assert list(seed_means(values).items()) == list(seed_means(ordered).items())


def test_scatter_pools_the_variances_of_cells_by_their_degrees_of_freedom() -> None:
    one, two = [0.50, 0.52, 0.57], [0.1, 0.2]
    pooled = (2 * statistics.variance(one) + statistics.variance(two)) / 3
    found = scatter([one, two, [0.9]])
    assert (found.sigma, found.degrees) == (pytest.approx(math.sqrt(pooled)), 3)
    assert found.error(5) == pytest.approx(math.sqrt(2 * pooled / 5))
    assert math.isnan(scatter([[0.9]]).sigma)

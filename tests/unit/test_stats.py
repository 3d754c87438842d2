"""Comparisons over seeds, and what they say about a claim."""

import math
import random
import statistics

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edgekd.lab.stats import (
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    Claim,
    Comparison,
    block_means,
    compare,
    judge,
    paired,
    ratio,
    scatter,
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


def test_only_seeds_that_both_have_are_compared() -> None:
    assert paired({0: 0.5, 1: 0.6, 7: 0.9}, {0: 0.4, 1: 0.4, 8: 0.1}) == compare([0.5 - 0.4, 0.6 - 0.4])


@pytest.mark.parametrize("claim", Claim)
def test_fewer_than_two_seeds_decide_nothing(claim: Claim) -> None:
    for differences in ([], [0.3]):
        found = compare(differences)
        assert (found.n, judge(claim, found, 0.02)) == (len(differences), UNDECIDED)
        assert (found.low, found.high) == (-math.inf, math.inf)


def test_differences_without_scatter_have_an_interval_of_no_width() -> None:
    assert compare([0.25, 0.25]).interval() == (0.25, 0.25)


@pytest.mark.parametrize(
    ("claim", "effect", "half", "verdict"),
    [
        (Claim.MORE, 0.050, 0.040, SUPPORTED),
        (Claim.MORE, 0.012, 0.010, SUPPORTED),
        (Claim.MORE, 0.004, 0.002, UNDECIDED),  # there, but too small to count
        (Claim.MORE, 0.050, 0.060, UNDECIDED),
        (Claim.MORE, 0.000, 0.019, NOT_SUPPORTED),
        (Claim.MORE, -0.050, 0.040, NOT_SUPPORTED),
        (Claim.ALIKE, 0.010, 0.009, SUPPORTED),
        (Claim.ALIKE, -0.010, 0.015, UNDECIDED),
        (Claim.ALIKE, 0.030, 0.020, UNDECIDED),
        (Claim.ALIKE, 0.050, 0.020, NOT_SUPPORTED),
        (Claim.ALIKE, -0.050, 0.020, NOT_SUPPORTED),
        (Claim.NO_MORE, 0.010, 0.009, SUPPORTED),
        (Claim.NO_MORE, -0.200, 0.100, SUPPORTED),
        (Claim.NO_MORE, 0.010, 0.015, UNDECIDED),
        (Claim.NO_MORE, 0.030, 0.020, UNDECIDED),
        (Claim.NO_MORE, 0.050, 0.020, NOT_SUPPORTED),
    ],
)
def test_verdict_follows_the_rule(claim: Claim, effect: float, half: float, verdict: str) -> None:
    assert judge(claim, around(effect, half), 0.02) == verdict


@given(
    claim=st.sampled_from(Claim),
    effect=st.floats(-0.1, 0.1),
    half=st.floats(1e-4, 0.1),
    moved=st.floats(-1e-5, 1e-5),
    together=st.integers(1, 20),
)
@hypothesis_settings(deadline=None)
def test_no_verdict_turns_into_its_opposite_by_a_hairs_breadth(
    claim: Claim, effect: float, half: float, moved: float, together: int
) -> None:
    verdicts = {judge(claim, around(e, half), 0.02, together) for e in (effect, effect + moved)}
    assert verdicts != {SUPPORTED, NOT_SUPPORTED}


def test_one_of_many_comparisons_needs_more_to_refute_a_claim() -> None:
    found = around(0.0, 0.019)
    assert judge(Claim.MORE, found, 0.02) == NOT_SUPPORTED
    assert judge(Claim.MORE, found, 0.02, together=6) == UNDECIDED


def test_many_comparisons_change_nothing_in_what_supports_a_claim() -> None:
    assert judge(Claim.MORE, around(0.05, 0.049), 0.02, together=20) == SUPPORTED


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


def test_seeds_are_averaged_over_the_largest_complete_block() -> None:
    whole = dict.fromkeys(range(5), 0.1)
    means, kinds = block_means({"a": whole, "b": dict.fromkeys(range(5), 0.3)})
    assert (means, kinds) == (pytest.approx(dict.fromkeys(range(5), 0.2)), 2)
    late = {"a": whole, "b": {0: 0.3, 1: 0.3, 2: 0.3, 3: 0.3}}  # seed 4 is not through yet
    assert block_means(late)[0] == pytest.approx(dict.fromkeys(range(4), 0.2))
    extra = {"a": whole, "b": {0: 9.0}}  # one cell of one seed takes no seed away from the others
    assert block_means(extra) == (pytest.approx(whole), 1)


def test_without_pairs_there_are_no_seeds() -> None:
    assert block_means({}) == ({}, 0)
    assert block_means({"a": {}}) == ({}, 0)


@hypothesis_settings(deadline=None, max_examples=30)
@given(st.permutations(range(6)), st.permutations("abc"))
def test_order_of_cells_changes_nothing(seeds: list[int], kinds: list[str]) -> None:
    values = {kind: {seed: ord(kind) / (seed + 3) for seed in seeds if (seed, kind) != (2, "b")} for kind in kinds}
    ordered = {kind: {seed: values[kind][seed] for seed in sorted(values[kind])} for kind in "abc"}
    assert block_means(values) == block_means(ordered)


def test_scatter_pools_the_variances_of_cells_by_their_degrees_of_freedom() -> None:
    one, two = [0.50, 0.52, 0.57], [0.1, 0.2]
    pooled = (2 * statistics.variance(one) + statistics.variance(two)) / 3
    found = scatter([one, two, [0.9]])
    assert (found.sigma, found.degrees) == (pytest.approx(math.sqrt(pooled)), 3)
    assert found.error(5) == pytest.approx(math.sqrt(2 * pooled / 5))
    assert math.isnan(scatter([[0.9]]).sigma)

"""The split of a labelled data set: its laws, its proportions, and that it is the same everywhere."""

import hashlib
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from edgekd.config import DataConfig
from edgekd.data.splits import partition, permutation, split, uniforms
from edgekd.errors import ConfigError

KINDS = st.one_of(
    st.just({}),
    st.builds(lambda g: {"gamma": g}, st.floats(0, 100)),
    st.builds(lambda g: {"gamma": g, "primary": 1}, st.floats(0, 100)),
    st.builds(lambda b: {"dirichlet": b}, st.floats(1e-4, 100)),
)


def labels_of(count: int, classes: int) -> np.ndarray:
    return np.arange(count) * 7 % classes


@settings(deadline=None, max_examples=150)
@given(
    labels=st.lists(st.integers(0, 9), min_size=1, max_size=200),
    clients=st.integers(1, 6),
    seed=st.integers(0, 2**62),
    kind=KINDS,
)
def test_shards_are_disjoint_cover_everything_and_are_not_empty_or_it_says_so(labels, clients, seed, kind) -> None:
    try:
        shards = partition(labels, clients, seed=seed, **kind)
    except ConfigError:
        with pytest.raises(ConfigError, match="without an image"):
            partition(labels, clients, seed=seed, **kind)
        assert kind or len(labels) < clients  # iid fails only where there are too few
        return
    assert len(shards) == clients
    assert all(len(shard) > 0 and (np.diff(shard) > 0).all() for shard in shards)
    assert np.array_equal(np.sort(np.concatenate(shards)), np.arange(len(labels)))
    again = partition(np.array(labels, dtype=np.int32), clients, seed=seed, **kind)
    assert all(np.array_equal(a, b) for a, b in zip(shards, again, strict=True))


@settings(deadline=None, max_examples=150)
@given(
    count=st.integers(20, 500),
    clients=st.integers(1, 5),
    fractions=st.tuples(st.floats(0.001, 0.45), st.floats(0.001, 0.45)),
    seed=st.integers(0, 2**62),
    kind=KINDS,
)
def test_evaluation_public_and_private_parts_are_disjoint_and_cover_the_data(
    count, clients, fractions, seed, kind
) -> None:
    of_evaluation, of_public = fractions
    config = DataConfig(clients=clients, iid=not kind, eval_fraction=of_evaluation, public_fraction=of_public, **kind)
    try:
        parts = split(labels_of(count, 10), config, seed)
    except ConfigError:
        with pytest.raises(ConfigError, match=r"too few are left|without an image"):
            split(labels_of(count, 10), config, seed)
        return
    sizes = (len(parts.evaluation), len(parts.public))
    assert sizes == tuple(max(1, int(count * fraction + 0.5)) for fraction in fractions)
    everything = np.concatenate([parts.evaluation, parts.public, *parts.shards])
    assert np.array_equal(np.sort(everything), np.arange(count))


@settings(deadline=None)
@given(count=st.integers(1, 300), clients=st.integers(1, 8), seed=st.integers(0, 2**62))
def test_iid_shards_differ_by_one_image_at_most(count, clients, seed) -> None:
    if count >= clients:
        sizes = [len(shard) for shard in partition([0] * count, clients, seed=seed)]
        assert max(sizes) - min(sizes) <= 1


def test_split_is_the_same_on_every_platform() -> None:
    kinds = ({"iid": True}, {"gamma": 15.0}, {"gamma": 10.0, "primary": 3}, {"dirichlet": 0.5})
    digest = hashlib.sha256()
    for kind in kinds:
        parts = split(labels_of(1797, 10), DataConfig(clients=3, **kind), seed=1)
        for part in (parts.evaluation, parts.public, *parts.shards):
            digest.update(part.astype("<i8").tobytes())
    assert digest.hexdigest() == "e992192bbb9811ac317422070b4854e6ff4f1e0a4c4e96a9304caa4d3ca1555b"


def test_raw_draws_are_philox_of_the_key() -> None:
    assert permutation(8, 5).tolist() == [2, 4, 3, 1, 5, 0, 6, 7]
    assert uniforms(2, 5).tolist() == [0.7337459554446363, 0.5905206445727093]


def label_counts(config: DataConfig, seed: int) -> np.ndarray:
    """How often each of ten labels is in each shard, ``[labels, clients]``."""
    labels = labels_of(3000, 10)
    shards = split(labels, config, seed).shards
    return np.stack([np.bincount(labels[shard], minlength=10) for shard in shards], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_skew_deals_primary_labels_evenly(seed: int) -> None:
    primary = label_counts(DataConfig(gamma=15.0), seed).argmax(axis=1)
    assert sorted(np.bincount(primary, minlength=3)) == [3, 3, 4]


@pytest.mark.parametrize(
    ("gamma", "clients", "primary"), [(15.0, 3, None), (10.0, 5, None), (2.0, 4, None), (0.5, 2, None), (15.0, 4, 3)]
)
def test_label_counts_over_many_seeds_have_the_odds_of_one_plus_gamma_and_of_no_other_gamma(
    gamma: float, clients: int, primary: int | None
) -> None:
    counts: dict[int, Any] = defaultdict(
        int
    )  # by how many clients a label is primary for: how many each got, those first
    for seed in range(20):
        # Out of reach of chance, who has a label at all is primary for it, or nobody is.
        chosen = label_counts(DataConfig(gamma=1e9, clients=clients, primary=primary), seed) > 0
        dealt = label_counts(DataConfig(gamma=gamma, clients=clients, primary=primary), seed)
        for is_primary, row in zip(chosen, dealt, strict=True):
            counts[is_primary.sum()] += np.concatenate([row[is_primary], row[~is_primary]])

    def chi_squared(gamma: float) -> float:
        statistic = 0.0
        for primaries, got in counts.items():
            odds = np.where(np.arange(clients) < primaries, 1 + gamma, 1)
            expected = got.sum() * odds / odds.sum()
            statistic += ((got - expected) ** 2 / expected).sum()
        return statistic

    limit = chi2.ppf(1 - 1e-6, len(counts) * (clients - 1))
    assert chi_squared(gamma) < limit
    assert min(chi_squared(0.8 * gamma), chi_squared(1.2 * gamma)) > limit


def test_iid_shards_are_independent_of_the_labels() -> None:
    statistic, freedom = 0.0, 20 * 9 * 2
    for seed in range(20):
        table = label_counts(DataConfig(iid=True), seed)
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
        statistic += ((table - expected) ** 2 / expected).sum()
    assert chi2.ppf(1e-6, freedom) < statistic < chi2.ppf(1 - 1e-6, freedom)


def test_gamma_zero_is_a_split_without_skew() -> None:
    labels = labels_of(30_000, 10)
    table = np.stack([np.bincount(labels[shard], minlength=10) for shard in partition(labels, 3, 0.0)], axis=1)
    assert ((table - 1000) ** 2 / 1000).sum() < chi2.ppf(1 - 1e-6, 20)


def test_own_primary_labels_are_drawn_by_each_client() -> None:
    labels = labels_of(60_000, 10)
    shards = partition(labels, 4, 1e6, primary=3, seed=2)
    for (
        shard
    ) in shards:  # at such odds a client has a label that is nobody's, or is primary for it: others hardly at all
        counts = np.bincount(labels[shard], minlength=10)
        assert 3 <= (counts > 100).sum() < 10


@pytest.mark.parametrize("seed", range(3))
def test_dirichlet_shares_have_the_variance_of_their_beta(seed: int) -> None:
    beta, clients, classes = 0.5, 4, 400
    labels = labels_of(400 * classes, classes)
    shards = partition(labels, clients, seed=seed, dirichlet=beta)
    shares = np.stack([np.bincount(labels[shard], minlength=classes) for shard in shards], axis=1) / 400
    mean = 1 / clients
    expected = mean * (1 - mean) / (clients * beta + 1)
    assert shares.mean(axis=0) == pytest.approx(mean, abs=0.07)
    assert shares.var() == pytest.approx(expected, rel=0.15)


def test_without_a_kind_the_split_is_skewed_as_in_the_paper() -> None:
    labels = labels_of(1000, 10)
    for data, gamma in (("digits", 15.0), ("sun397", 10.0)):
        default, asked = (split(labels, DataConfig(data=data, gamma=g), 0) for g in (None, gamma))
        assert all(np.array_equal(a, b) for a, b in zip(default.shards, asked.shards, strict=True))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"clients": 0}, "clients must be >= 1, got 0"),
        ({"clients": 2, "gamma": float("nan")}, "gamma must be finite and >= 0, got nan"),
        ({"clients": 2, "dirichlet": 0.0}, "dirichlet must be finite and > 0, got 0.0"),
        ({"clients": 2, "gamma": 1.0, "dirichlet": 1.0}, "choose one of gamma and dirichlet"),
        ({"clients": 2, "primary": 1}, "primary goes with a skewed split"),
        ({"clients": 2, "gamma": 1.0, "primary": 11}, "primary must be from 1 to the number of labels, 10, got 11"),
        ({"clients": 101}, "use more images, fewer clients"),
    ],
)
def test_an_impossible_partition_says_the_rule_and_the_value(arguments, said) -> None:
    with pytest.raises(ConfigError, match=said):
        partition(labels_of(100, 10), **arguments)


def test_too_few_images_for_the_fractions_are_an_error() -> None:
    with pytest.raises(ConfigError, match="too few are left for 3 clients"):
        split([0, 1, 2], DataConfig(), 0)

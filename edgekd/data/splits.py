"""The split of one labelled data set into an evaluation set, a public set and private shards.

The functions are pure. Their results are the same on every platform and with every numpy: random numbers are the raw
bits of Philox, which numpy guarantees, and sorts are stable. The methods of numpy's Generator have no such guarantee.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.config import DataConfig
from edgekd.errors import ConfigError
from edgekd.seeds import derive

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Indices into the data set. The parts are disjoint and cover the data set."""

    evaluation: Indices  # ascending
    public: Indices  # in random order, so the position of an image does not reveal its label
    shards: tuple[Indices, ...]  # one for each client, each ascending and not empty


def split(labels: Sequence[int] | Indices, config: DataConfig, seed: int) -> Split:
    """Draw the evaluation set, then the public set, then one shard for each client.

    Args:
        labels: int ``[N]``.
        config: the fractions, the number of clients and the kind of split. The default is a skewed split, see `skew`.
        seed: the seed of the split; it is the same for all peers of a group.

    Raises:
        ConfigError: there are too few images.
    """
    labels = np.asarray(labels, dtype=np.int64)
    evaluation, public = (max(1, int(len(labels) * f + 0.5)) for f in (config.eval_fraction, config.public_fraction))
    left = len(labels) - evaluation - public
    if left < config.clients:
        raise ConfigError(
            f"of {len(labels)} images {evaluation} are for evaluation and {public} public: too few are left for "
            f"{config.clients} clients; use more images, fewer clients or smaller fractions"
        )
    order = permutation(len(labels), derive(seed, "split"))
    rest = np.sort(order[evaluation + public :])
    shards = partition(
        labels[rest], config.clients, skew(config), seed, dirichlet=config.dirichlet, primary=config.primary
    )
    return Split(
        evaluation=np.sort(order[:evaluation]),
        public=order[evaluation : evaluation + public],
        shards=tuple(rest[shard] for shard in shards),
    )


def skew(config: DataConfig) -> float | None:
    """The gamma of a split; None: it is not skewed. The default is that of the paper: 10 for sun397, otherwise 15."""
    if config.iid or config.dirichlet is not None:
        return None
    if config.gamma is not None:
        return config.gamma
    return 10.0 if config.data == "sun397" else 15.0


def partition(
    labels: Sequence[int] | Indices,
    clients: int,
    gamma: float | None = None,
    seed: int = 0,
    *,
    dirichlet: float | None = None,
    primary: int | None = None,
) -> list[Indices]:
    """Distribute samples over clients. Without `gamma` and `dirichlet`, the shards are equal and random (iid).

    >>> [len(shard) for shard in partition([0, 1] * 50, clients=4, seed=1)]
    [25, 25, 25, 25]

    Args:
        labels: int ``[N]``.
        clients: the number of clients, K >= 1.
        gamma: >= 0, the skew. A sample goes to client k with a probability proportional to 1 + gamma if its label is
            a primary label of k, else proportional to 1. Each label is primary for one client, and all clients have
            about the same number of primary labels.
        seed: the seed of all random numbers.
        dirichlet: > 0. For each label, the shares of the clients are drawn from a symmetric Dirichlet distribution.
        primary: only with `gamma`: each client draws this number of primary labels independently.

    Returns:
        K arrays of ascending indices. They are disjoint and not empty, and together they are ``range(N)``.

    Raises:
        ConfigError: an argument is out of range, or a shard would be empty.

    Source: gamma: Zhmoginov et al. 2023, Decentralized Learning with Multi-Headed Distillation;
    Dirichlet: Hsu et al. 2019, arXiv:1909.06335.
    """
    labels = np.asarray(labels, dtype=np.int64)
    _check(clients, gamma, dirichlet, primary)
    if gamma is None and dirichlet is None:
        owner = np.empty(len(labels), dtype=np.int64)
        owner[permutation(len(labels), derive(seed, "iid"))] = np.arange(len(labels)) * clients // max(1, len(labels))
    else:
        known, label = np.unique(labels, return_inverse=True)
        if gamma is not None:
            weights = _skewed_weights(len(known), clients, gamma, seed, primary)
        else:
            assert dirichlet is not None
            weights = _dirichlet_shares(len(known), clients, dirichlet, seed)
        owner = _deal(weights, label, uniforms(len(labels), derive(seed, "deal")))
    shards = [np.flatnonzero(owner == k) for k in range(clients)]
    empty = [str(k) for k, shard in enumerate(shards) if len(shard) == 0]
    if empty:
        raise ConfigError(
            f"the split leaves client {', '.join(empty)} of {clients} without an image ({len(labels)} images to deal "
            "out); use more images, fewer clients, a smaller gamma, a larger dirichlet or another data seed"
        )
    return shards


def permutation(count: int, key: int) -> Indices:
    """The numbers below `count` in random order, int64 ``[count]``."""
    return np.argsort(_bits(count, key), kind="stable").astype(np.int64)


def uniforms(count: int, key: int) -> Floats:
    """Random numbers, float64 ``[count]`` in [0, 1), multiples of 2^-53."""
    draws: Floats = (_bits(count, key) >> np.uint64(11)) * 2.0**-53
    return draws


def _bits(count: int, key: int) -> NDArray[np.uint64]:
    raw: NDArray[np.uint64] = np.asarray(np.random.Philox(key=key).random_raw(count), dtype=np.uint64)
    return raw


def _check(clients: int, gamma: float | None, dirichlet: float | None, primary: int | None) -> None:
    rules: list[tuple[bool, str, Any]] = [
        (clients >= 1, "clients must be >= 1", clients),
        (gamma is None or 0 <= gamma < np.inf, "gamma must be finite and >= 0", gamma),
        (dirichlet is None or 0 < dirichlet < np.inf, "dirichlet must be finite and > 0", dirichlet),
        (gamma is None or dirichlet is None, "choose one of gamma and dirichlet", f"{gamma} and {dirichlet}"),
        (primary is None or gamma is not None, "primary goes with a skewed split, gamma", primary),
    ]
    for holds, rule, value in rules:
        if not holds:
            raise ConfigError(f"{rule}, got {value}")


def _skewed_weights(labels: int, clients: int, gamma: float, seed: int, primary: int | None) -> Floats:
    """The weights ``[labels, clients]``: 1 + gamma if the label is primary for the client, else 1."""
    weights = np.ones((labels, clients))
    if primary is None:
        order = permutation(labels, derive(seed, "primary"))
        weights[order, np.arange(labels) % clients] += gamma
        return weights
    if not 1 <= primary <= labels:
        raise ConfigError(f"primary must be from 1 to the number of labels, {labels}, got {primary}")
    for client in range(clients):
        weights[permutation(labels, derive(seed, "primary", client))[:primary], client] += gamma
    return weights


def _dirichlet_shares(labels: int, clients: int, beta: float, seed: int) -> Floats:
    """The weights ``[labels, clients]``, each row proportional to a draw from Dirichlet(beta, ..., beta)."""
    from scipy.special import gammaincinv

    draws = uniforms(labels * clients, derive(seed, "dirichlet")).reshape(labels, clients)
    gammas: Floats = np.asarray(gammaincinv(beta, draws), dtype=np.float64)
    # With a tiny beta, a whole row can underflow to 0. In the limit, one client gets everything.
    lost = np.flatnonzero(gammas.sum(axis=1) == 0)
    gammas[lost, draws[lost].argmax(axis=1)] = 1
    return gammas


def _deal(weights: Floats, label: Indices, draws: Floats) -> Indices:
    """Draw the client of each sample, int ``[N]``, by inversion, with the weights in the row of the sample's label."""
    cumulative = weights.cumsum(axis=1)[label]
    owner: Indices = (cumulative <= (draws * cumulative[:, -1])[:, None]).sum(axis=1)
    return owner.clip(max=weights.shape[1] - 1)  # a draw close to 1 can be rounded up to the total

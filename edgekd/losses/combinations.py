"""Combinations: how the predictions of several teachers become one or more targets for the student.

A teacher is a neighbour whose predictions a step learns from. It may be wrong, broken or lying. "median" and "trimmed"
look at each class of one lesson, and are robust against a minority of the teachers. "agreement" also uses the earlier
lessons of each teacher (`edgekd.losses.trust`), so it can recognise one liar among two teachers.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd import names
from edgekd.errors import ConfigError
from edgekd.extensions import Function, is_extension, load_function, refuse_object, spelt
from edgekd.names import AGREEMENT

# probabilities [teachers, batch, classes] -> targets [targets, batch, classes]; the loss is a sum over the targets
Combination = Callable[[Tensor], Tensor]


def every_one(teachers: Tensor) -> Tensor:
    """Use every teacher as a target, so that the loss is a sum over the teachers (case 1 of the paper)."""
    return teachers


def arithmetic_mean(teachers: Tensor) -> Tensor:
    """Use the mean of the predictions as the target (case 2 of the paper)."""
    return teachers.mean(dim=0, keepdim=True)


def geometric_mean(teachers: Tensor) -> Tensor:
    """The normalised geometric mean: the softmax of the averaged logits (as in the script of the paper's authors)."""
    return F.softmax(_log(teachers).mean(dim=0, keepdim=True), dim=-1)


def most_confident(teachers: Tensor) -> Tensor:
    """For each sample, use the teacher with the largest maximum probability; if several have it, the first of these.

    Source: Zhmoginov et al. 2023, Decentralized learning with multi-headed distillation.
    """
    surest = teachers.amax(dim=-1).argmax(dim=0)  # [batch]
    return teachers.gather(0, surest[None, :, None].expand(1, *teachers.shape[1:]))


def coordinate_middle(teachers: Tensor, left_out: int) -> Tensor:
    """The trimmed mean of each sample and class, without the `left_out` lowest and the `left_out` highest values.

    Args:
        teachers: probabilities ``[teachers, batch, classes]``.
        left_out: in [0, (teachers - 1) // 2]. The maximum gives the median; for an even number of teachers that is the
            mean of the middle two.

    Returns:
        ``[batch, classes]``. If at most `left_out` teachers lie, a value is within the range of the honest teachers.
        The rows need not sum to 1.
    """
    return teachers.sort(dim=0).values[left_out : len(teachers) - left_out].mean(dim=0)


def median(teachers: Tensor) -> Tensor:
    """The median of each class, renormalised. A minority of the teachers cannot move it out of the others' range.

    With two teachers it is their mean and gives no protection: their predictions do not show which of them lies.

    Source: Yin et al. 2018, Byzantine-robust distributed learning: towards optimal statistical rates.
    """
    return _normalised(coordinate_middle(teachers, (len(teachers) - 1) // 2))


def trimmed_mean(teachers: Tensor) -> Tensor:
    """The mean of each class without the lowest and the highest third of the teachers (rounded down), renormalised.

    A third is robust against one liar among three teachers, the smallest number that has a majority. If there are many
    teachers, a third of them still counts. With one or two teachers this is the mean, with three or four the median.

    Source: Yin et al. 2018, as for `median`.
    """
    return _normalised(coordinate_middle(teachers, len(teachers) // 3))


def weighted_mean(teachers: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of the predictions; `weights` are ``[teachers]``, >= 0, and sum to 1."""
    return torch.einsum("t,tbc->bc", weights.to(teachers.dtype), teachers).unsqueeze(0)


COMBINATIONS: dict[str, Combination] = {
    "sum": every_one,
    "average": arithmetic_mean,
    "geometric": geometric_mean,
    "confident": most_confident,
    "median": median,
    "trimmed": trimmed_mean,
}
names.check_entries("combinations.COMBINATIONS", [*COMBINATIONS, AGREEMENT, names.NWAY], names.COMBINATION_NAMES)


def combine(name: Function, teachers: Tensor, sharpen: float = 1.0, weights: Tensor | None = None) -> Tensor:
    """The targets of several teachers.

    Args:
        name: one of `COMBINATIONS`; "agreement"; or a function of the user, or its name: ``FILE.py:function`` or
            ``package.module:function``.
        teachers: probabilities ``[teachers, batch, classes]``, rows sum to 1.
        sharpen: > 0, no unit: each target is raised to this power and renormalised.
        weights: of the teachers, ``[teachers]``, >= 0, sum to 1; only "agreement" uses them. None: equal weights.

    Returns:
        Probabilities ``[targets, batch, classes]``, rows sum to 1.

    Raises:
        ConfigError: there is no such combination, or the user's function fails or returns something else.
    """
    targets = _find(name)(teachers) if weights is None or name != AGREEMENT else weighted_mean(teachers, weights)
    return targets if sharpen == 1 else F.softmax(sharpen * _log(targets), dim=-1)


def _log(probs: Tensor) -> Tensor:
    # The floor matters if the supports are disjoint: then each class would get -inf from some teacher.
    return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()


def _normalised(values: Tensor) -> Tensor:
    # The floor matters if each class is 0 for most teachers: then the row becomes uniform.
    values = values.clamp_min(torch.finfo(values.dtype).tiny)
    return (values / values.sum(dim=-1, keepdim=True)).unsqueeze(0)


def _find(name: Function) -> Combination:
    if name == AGREEMENT:
        return arithmetic_mean
    if isinstance(name, str) and name in COMBINATIONS:
        return COMBINATIONS[name]
    refuse_object(name, "combine")
    if is_extension(name):
        return _own(name)
    raise ConfigError(
        f"combine must be one of {', '.join([*COMBINATIONS, AGREEMENT])}, FILE.py:function or "
        f"package.module:function, got {name}"
    )


@functools.lru_cache(maxsize=64)
def _own(name: Function) -> Combination:
    """The user's function, after a trial on disjoint, equal and ordinary predictions."""
    function, called = load_function(name), spelt(name)
    trial = torch.tensor(
        [[[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5]], [[0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [0.6, 0.1, 0.3]]]
    )
    for teachers in (trial, trial[:1]):
        try:
            targets = function(teachers.clone())
        except Exception as error:  # whatever the user's function raises
            raise ConfigError(f"combine {called} failed on a trial: {type(error).__name__}: {error}") from error
        if not isinstance(targets, Tensor) or targets.ndim != 3 or targets.shape[1:] != teachers.shape[1:]:
            got = list(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
            raise ConfigError(
                f"combine {called} must make [targets, batch, classes] of [teachers, batch, classes] = "
                f"{list(teachers.shape)}, got {got}"
            )
        sums = targets.sum(dim=-1)
        if not (targets.isfinite().all() and (targets >= 0).all() and torch.allclose(sums, torch.ones_like(sums))):
            raise ConfigError(f"combine {called} must return probabilities: finite, >= 0, rows that sum to 1")
    return function

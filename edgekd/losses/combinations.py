"""What a student is to agree with when it has several teachers: their predictions made one or more targets.

A teacher may be wrong, broken or lying. `median` and `trimmed` look at one lesson, class by class, and hold out against
a minority of its teachers; "agreement" looks at what each has said before too (`edgekd.losses.trust`), so it can tell
one of two.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.errors import ConfigError
from edgekd.extensions import is_extension, load_function
from edgekd.names import AGREEMENT

# probabilities [teachers, batch, classes] -> targets [targets, batch, classes], whose losses add up
Combination = Callable[[Tensor], Tensor]


def every_one(teachers: Tensor) -> Tensor:
    """Each teacher for itself: the loss is a sum over them (the paper's case 1)."""
    return teachers


def arithmetic_mean(teachers: Tensor) -> Tensor:
    """The mean of the predictions (the paper's case 2)."""
    return teachers.mean(dim=0, keepdim=True)


def geometric_mean(teachers: Tensor) -> Tensor:
    """The normalised geometric mean, which is the softmax of the averaged logits (the authors' script)."""
    return F.softmax(_log(teachers).mean(dim=0, keepdim=True), dim=-1)


def most_confident(teachers: Tensor) -> Tensor:
    """For each sample the teacher whose largest probability is largest; of equal ones the first.

    Source: Zhmoginov et al. 2023, Decentralized learning with multi-headed distillation.
    """
    surest = teachers.amax(dim=-1).argmax(dim=0)  # [batch]
    return teachers.gather(0, surest[None, :, None].expand(1, *teachers.shape[1:]))


def coordinate_middle(teachers: Tensor, left_out: int) -> Tensor:
    """For each sample and class the mean over the teachers without the `left_out` lowest and as many highest.

    Args:
        teachers: probabilities ``[teachers, batch, classes]``.
        left_out: in [0, (teachers - 1) // 2]; the most makes it the median, of an even number the middle two's mean.

    Returns:
        ``[batch, classes]``, within the range of what any teachers but `left_out` say; the rows need not sum to 1.
    """
    return teachers.sort(dim=0).values[left_out : len(teachers) - left_out].mean(dim=0)


def median(teachers: Tensor) -> Tensor:
    """The coordinate-wise median, renormalised: a minority of the teachers cannot move it out of the others' range.

    With two teachers it is their mean, so nothing is gained: who of two lies does not show in what they say.

    Source: Yin et al. 2018, Byzantine-robust distributed learning: towards optimal statistical rates.
    """
    return _normalised(coordinate_middle(teachers, (len(teachers) - 1) // 2))


def trimmed_mean(teachers: Tensor) -> Tensor:
    """The coordinate-wise mean without the lowest and the highest third of the teachers (rounded down), renormalised.

    A third, so that it holds against one of three, the fewest among whom there is a majority, while of many teachers
    a third still counts. With one or two it is the mean, with three or four the median.

    Source: Yin et al. 2018, as for `median`.
    """
    return _normalised(coordinate_middle(teachers, len(teachers) // 3))


def weighted_mean(teachers: Tensor, weights: Tensor) -> Tensor:
    """The mean of the predictions with `weights` ``[teachers]``, >= 0, that sum to 1."""
    return torch.einsum("t,tbc->bc", weights.to(teachers.dtype), teachers).unsqueeze(0)


COMBINATIONS: dict[str, Combination] = {
    "sum": every_one,
    "average": arithmetic_mean,
    "geometric": geometric_mean,
    "confident": most_confident,
    "median": median,
    "trimmed": trimmed_mean,
}


def combine(name: str, teachers: Tensor, sharpen: float = 1.0, weights: Tensor | None = None) -> Tensor:
    """The targets that several teachers make.

    Args:
        name: one of `COMBINATIONS`, "agreement", or ``package.module:function``.
        teachers: probabilities ``[teachers, batch, classes]``, rows sum to 1.
        sharpen: > 0, no unit: each target is raised to it and renormalised.
        weights: of the teachers, ``[teachers]``, >= 0, sum to 1; "agreement" alone uses them. None: all alike.

    Returns:
        Probabilities ``[targets, batch, classes]``, rows sum to 1.

    Raises:
        ConfigError: there is no such combination, or a function of one's own returns something else.
    """
    targets = _find(name)(teachers) if weights is None or name != AGREEMENT else weighted_mean(teachers, weights)
    return targets if sharpen == 1 else F.softmax(sharpen * _log(targets), dim=-1)


def _log(probs: Tensor) -> Tensor:
    # Floored: where supports are disjoint, each class would get -inf from somebody.
    return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()


def _normalised(values: Tensor) -> Tensor:
    # Floored: where each class is 0 for most teachers, the row becomes even.
    values = values.clamp_min(torch.finfo(values.dtype).tiny)
    return (values / values.sum(dim=-1, keepdim=True)).unsqueeze(0)


def _find(name: str) -> Combination:
    if name == AGREEMENT:
        return arithmetic_mean
    if name in COMBINATIONS:
        return COMBINATIONS[name]
    if is_extension(name):
        return _own(name)
    raise ConfigError(
        f"combine must be one of {', '.join([*COMBINATIONS, AGREEMENT])} or package.module:function, got {name}"
    )


@functools.cache
def _own(name: str) -> Combination:
    """A user's function, after a trial on disjoint, equal and ordinary predictions."""
    function = load_function(name)
    trial = torch.tensor(
        [[[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5]], [[0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [0.6, 0.1, 0.3]]]
    )
    for teachers in (trial, trial[:1]):
        try:
            targets = function(teachers.clone())
        except Exception as error:  # whatever the user's function raises
            raise ConfigError(f"combine {name} failed on a trial: {type(error).__name__}: {error}") from error
        if not isinstance(targets, Tensor) or targets.ndim != 3 or targets.shape[1:] != teachers.shape[1:]:
            got = list(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
            raise ConfigError(
                f"combine {name} must make [targets, batch, classes] of [teachers, batch, classes] = "
                f"{list(teachers.shape)}, got {got}"
            )
        sums = targets.sum(dim=-1)
        if not (targets.isfinite().all() and (targets >= 0).all() and torch.allclose(sums, torch.ones_like(sums))):
            raise ConfigError(f"combine {name} must return probabilities: finite, >= 0, rows that sum to 1")
    return function

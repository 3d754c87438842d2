"""How unlike two predictions are: CE, KL, JS, TD, SED and MSE.

q = the teacher's probabilities, p = softmax(z / T) the student's; natural logarithms; one value a sample.

A measure is a function of q and z / T. Most here are closed forms: a formula gives value and gradient together. That is
faster than autograd, which goes over every step twice, and keeps its digits where autograd of the textbook forms loses
them: near p = q, where probabilities underflow, where a teacher is exactly 0.

- Each term of a sum is >= 0 and flat at p = q, e.g. w ln w - w + 1 in place of w ln w: so rounding is of second order.
- Of a slope g = dD/dp the softmax passes on dD/dz_k = p_k (g_k - sum_j p_j g_j), see `_through_softmax`.

A measure of one's own may as well be plain torch with autograd: one function, and its name in `MEASURES` and in
`edgekd.names`.
"""

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from edgekd.errors import ConfigError
from edgekd.extensions import is_extension, load_function
from edgekd.names import NWAY_MEASURES

# q and z / T, both [batch, classes], float32 or float64 -> [batch]
Measure = Callable[[Tensor, Tensor], Tensor]
# the same -> the value [batch] and its gradient by z / T [batch, classes]
Formula = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class _ClosedForm(torch.autograd.Function):
    """A formula's value, with the gradient that the formula gives along with it."""

    @staticmethod
    def forward(ctx: FunctionCtx, q: Tensor, z: Tensor, formula: Formula) -> Tensor:
        value, gradient = formula(q, z)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *outer: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return None, outer[0].unsqueeze(-1) * gradient, None


def _closed_form(formula: Formula) -> Measure:
    def measure(q: Tensor, z: Tensor) -> Tensor:
        return _ClosedForm.apply(q, z, formula)  # type: ignore[no-any-return]

    measure.__name__, measure.__doc__ = formula.__name__, formula.__doc__
    return measure


# Below, in place wherever a tensor is not needed again: at [256, 397] fresh memory costs as much as the arithmetic.


def _floor(t: Tensor) -> float:
    return 2 * torch.finfo(t.dtype).tiny  # twice, so that half of it is still a normal number


def _softmax(z: Tensor) -> Tensor:
    # Not quite 0, so that a ratio is never 0 / 0.
    return F.softmax(z, dim=-1).clamp_(min=_floor(z))


def _log_softmax(z: Tensor) -> Tensor:
    # float32 logits can be further apart than the largest float32. Saturates, for 0 * -inf is NaN.
    return F.log_softmax(z, dim=-1).clamp_(min=-0.99 * torch.finfo(z.dtype).max)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.mul(a, b).sum(dim=-1)  # [batch]


def _through_softmax(p: Tensor, slope: Tensor) -> Tensor:
    """p (g - sum p g): the gradient by z / T out of the slope g = dD/dp. Uses up both.

    A constant added to g changes nothing, so g is first made 0 at the class with p > 1/2, if there is one. Otherwise
    g - sum p g cancels there, and a student that is sure (p rounds to 1) gets rounding noise for a gradient.
    """
    slope.sub_(p.round().mul_(slope).sum(dim=-1, keepdim=True))
    slope.sub_(_dot(p, slope).unsqueeze(-1))
    return p.mul_(slope)


@_closed_form
def cross_entropy(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """- sum q ln p, in [H(q), inf)."""
    return -_dot(q, _log_softmax(z)), _softmax(z).sub_(q)


def _floored_kl(p: Tensor, q: Tensor) -> Tensor:
    t = p / q
    return torch.log(t).neg_().add_(t.sub_(1)).mul_(q).sum(dim=-1)  # q (t - 1 - ln t)


def _below_floor(z: Tensor) -> Tensor:
    floor = math.log(_floor(z))
    return _log_softmax(z).clamp_(max=floor).sub_(floor)  # what the floor takes from ln p, <= 0


@_closed_form
def kullback_leibler(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """sum q ln(q / p), in [0, inf): the teacher first. Its gradient is that of the cross-entropy."""
    p = _softmax(z)
    value = _floored_kl(p, q.clamp_min(_floor(q))) - _below_floor(z).mul_(q).sum(dim=-1)
    return value.clamp_(min=0), p.sub_(q)


def _twice_js(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """sum p ln(p / m) + q ln(q / m) with m = (p + q) / 2, and its slope ln(p / m)."""
    m = torch.lerp(p, q, 0.5)
    w = p / m
    v = (2 - w).clamp_(min=_floor(p))  # q / m
    term = torch.log(v).mul_(v).sub_(v.sub_(1))  # v ln v - v + 1
    log_w = torch.log(w, out=v)
    term.addcmul_(log_w, w).sub_(w.sub_(1))  # + w ln w - w + 1
    return term.mul_(m).sum(dim=-1).clamp_(min=0), log_w


@_closed_form
def jensen_shannon(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """H((p + q) / 2) - (H(p) + H(q)) / 2, in [0, ln 2]; its square root is a metric."""
    p = _softmax(z)
    twice, slope = _twice_js(p, q)
    return twice.mul_(0.5), _through_softmax(p, slope.mul_(0.5))


def structural_entropic(q: Tensor, z: Tensor) -> Tensor:
    """C((p + q) / 2) / sqrt(C(p) C(q)) - 1 with C = exp H, in [0, 1]; equals expm1 of the Jensen-Shannon divergence."""
    return torch.expm1(jensen_shannon(q, z))


@_closed_form
def triangular(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """1 - sum 2pq / (p + q) = 1/2 sum (p - q)^2 / (p + q), in [0, 1]. Source: Connor et al. 2024, Entropy 26(6):491."""
    p = _softmax(z)
    difference, ratio = p - q, p + q
    torch.div(difference, ratio, out=ratio)
    value = _dot(difference, ratio).mul_(0.5)
    slope = torch.addcmul(ratio, ratio, ratio, value=-0.5, out=difference)
    return value, _through_softmax(p, slope)


@_closed_form
def squared_error(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """sum (p - q)^2, in [0, 2]."""
    p = _softmax(z)
    difference = p - q
    return _dot(difference, difference), _through_softmax(p, difference.mul_(2))


MEASURES: dict[str, Measure] = {
    "ce": cross_entropy,
    "kl": kullback_leibler,
    "js": jensen_shannon,
    "td": triangular,
    "sed": structural_entropic,
    "mse": squared_error,
}


# Times this, a measure agrees with KL to second order near p = q (``--kd-scale matched``). Those not listed count as 1.
SECOND_ORDER: dict[str, float] = {"td": 2.0, "js": 4.0, "sed": 4.0}


def dissimilarity(measure: str, teacher_probs: Tensor, student_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """How unlike the teacher's and the student's predictions are, by one of `MEASURES`.

    Args:
        measure: "ce", "kl", "js", "td", "sed" or "mse", or a function of one's own, "package.module:function".
        teacher_probs: probabilities q, float ``[batch, classes]``, rows sum to 1, zeros allowed; a constant.
        student_logits: logits z, the same shape, any finite floats; p = softmax(z / temperature). Gradients flow
            through these, once: there is no second derivative. float64 stays float64, all else is computed in float32.
        temperature: > 0, no unit; the values are not multiplied by its square.

    Returns:
        ``[batch]``, in nats for CE, KL and JS, no unit for the others. Finite, as is the gradient; CE and KL saturate
        where logits are further apart than the largest float.

    Raises:
        ConfigError: there is no such measure; the known ones are listed. Or a function of one's own fails on a trial.
        ValueError: the shapes differ or are not ``[batch, classes]``, or the temperature is not > 0.
    """
    function = _find(measure)
    if teacher_probs.shape != student_logits.shape or student_logits.ndim != 2:
        raise ValueError(
            "teacher_probs and student_logits must be [batch, classes] alike, "
            f"got {list(teacher_probs.shape)} and {list(student_logits.shape)}"
        )
    z = _scaled(student_logits, temperature)
    return function(teacher_probs.detach().to(z.dtype), z)


def nway_dissimilarity(measure: str, teachers: Tensor, student_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """How unlike n predictions are, the student's own among them: H(mean) - mean(H), or of that expm1 / (n - 1).

    Args:
        measure: "js" or "sed".
        teachers: probabilities, float ``[n - 1, batch, classes]``, rows sum to 1, zeros allowed; constants.
        student_logits: ``[batch, classes]``, as in `dissimilarity`.
        temperature: > 0, no unit.

    Returns:
        ``[batch]``: "js" in [0, ln n], "sed" in [0, 1]; with one teacher they are JS and SED of the two.

    Raises:
        ValueError: the shapes do not match, another measure was asked for, or the temperature is not > 0.
    """
    if measure not in NWAY_MEASURES:
        raise ValueError(f"measure must be one of {', '.join(NWAY_MEASURES)}, got {measure}")
    if teachers.ndim != 3 or teachers.shape[1:] != student_logits.shape or not len(teachers):
        raise ValueError(f"teachers must be one or more of {list(student_logits.shape)}, got {list(teachers.shape)}")
    z = _scaled(student_logits, temperature)
    js: Tensor = _ClosedForm.apply(teachers.detach().to(z.dtype), z, _nway_js)
    return js if measure == "js" else torch.expm1(js) / len(teachers)


def second_order(measure: str, nway: int | None = None) -> float:
    """What a measure is multiplied by to agree with KL to second order near p = q.

    Args:
        measure: any; those not in `SECOND_ORDER` count as 1.
        nway: how many predictions, where it is the n-way form; the others are taken as equal.
    """
    if nway is None:
        return SECOND_ORDER.get(measure, 1.0)
    return nway**2 / (nway - 1) if measure == "js" else float(nway**2)


def _nway_js(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the n of sum p ln(p / m), m their mean, and its gradient; q is ``[n - 1, batch, classes]``."""
    own, n = _softmax(z), len(q) + 1
    m = ((q.sum(dim=0) + own) / n).clamp_(min=_floor(z))
    w = torch.cat([q, own.unsqueeze(0)]) / m  # [n, batch, classes]
    log_w = w.clamp(min=_floor(z)).log_()
    value = (torch.mul(w, log_w).sub_(w).add_(1).mul_(m)).sum(dim=(0, -1)) / n  # m (w ln w - w + 1), each >= 0
    return value.clamp_(min=0), _through_softmax(own, log_w[-1] / n)


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    """z / T in float32 or float64."""
    if not temperature > 0:  # written so that NaN fails too
        raise ValueError(f"temperature must be > 0, got {temperature}")
    z = logits if logits.dtype == torch.float64 else logits.float()
    if temperature == 1:
        return z
    # The largest logit becomes 0 first, so that a low temperature cannot make it infinite.
    return (z - z.detach().amax(dim=-1, keepdim=True)) / temperature


def _find(name: str) -> Measure:
    if name in MEASURES:
        return MEASURES[name]
    if is_extension(name):
        return _own(name)
    raise ConfigError(f"measure must be one of {', '.join(MEASURES)} or package.module:function, got {name}")


@functools.cache
def _own(name: str) -> Measure:
    """A user's function, after a trial: one finite value a sample, and a finite gradient."""
    function: Measure = load_function(name)
    q = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    z = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, -3.0], [120.0, 0.0, -120.0], [0.0, 0.0, 0.0]], requires_grad=True)
    try:
        value = function(q.clone(), z)
        _require(isinstance(value, Tensor), f"it returns {type(value).__name__}, not a tensor")
        _require(value.shape == q.shape[:1], f"it makes {list(value.shape)} of [batch, classes] = {list(q.shape)}")
        (gradient,) = torch.autograd.grad(value.sum(), z)
    except Exception as error:  # whatever the user's function raises
        raise ConfigError(f"measure {name} must give one value a sample: {error}") from error
    for what, got in (("value", value), ("gradient", gradient)):
        if not got.isfinite().all():
            bad = int((~got.reshape(len(q), -1).isfinite()).any(dim=1).nonzero()[0])
            case = f"teacher {[round(x, 3) for x in q[bad].tolist()]} and logits {z[bad].tolist()}"
            raise ConfigError(f"measure {name} must be finite: its {what} for {case} is {got[bad].tolist()}")
    return function


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)

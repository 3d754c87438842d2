"""How unlike two predictions are: CE, KL, JS, TD, SED and MSE (DESIGN section 4).

q = the teacher's probabilities, p = softmax(z / T) the student's; natural logarithms; one value a sample.

A measure is a function of q and of z / T. The ones here compute value and gradient together, in closed form: faster than
autograd, which would go over each of their steps twice, and exact where autograd of a textbook form is not: near p = q,
where probabilities underflow, where teachers have zeros. Two rules do that:

- A ratio's logarithm is log1p of a difference: ln(2p / (p + q)) = -log1p((q - p) / 2p) keeps its digits near p = q.
- Of a slope g = dD/dp the softmax passes on dD/dz_k = p_k (g_k - sum_j p_j g_j), see `_through_softmax`.

A measure of your own may be plain torch, with autograd: one function, one line in `MEASURES`.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from edgekd.errors import ConfigError

# (q, z / T), both [batch, classes] of one dtype, float32 or float64 -> [batch]
Measure = Callable[[Tensor, Tensor], Tensor]


class _ClosedForm(torch.autograd.Function):
    """A formula's value, with the gradient that the formula gives along with it."""

    @staticmethod
    def forward(ctx: FunctionCtx, q: Tensor, z: Tensor, formula: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        value, gradient = formula(q, z)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, *outer: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return None, outer[0].unsqueeze(-1) * gradient, None


def _closed_form(formula: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Measure:
    """A measure out of a formula (q, z / T) -> value ``[batch]`` and its gradient by z / T ``[batch, classes]``."""

    def measure(q: Tensor, z: Tensor) -> Tensor:
        return _ClosedForm.apply(q, z, formula)  # type: ignore[no-any-return, no-untyped-call]

    measure.__name__, measure.__doc__ = formula.__name__, formula.__doc__
    return measure


# Below, in place wherever a tensor is not used again: at [256, 397] fresh memory costs as much as the arithmetic.


def _tiny(t: Tensor) -> float:
    return torch.finfo(t.dtype).tiny


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a, b)  # [batch]


def _log1p_(y: Tensor) -> Tensor:
    """log(1 + y); y > -1 is used up. torch.log1p is not vectorised: it takes 8 times as long."""
    w = y + 1
    log = torch.log(w)
    y.sub_(w.sub_(1))  # what 1 + y was rounded by
    return log.addcdiv_(y, w.add_(1))


def _through_softmax(p: Tensor, slope: Tensor) -> Tensor:
    """The gradient by z / T out of the slope dD/dp, which is used up: p (g - sum p g).

    A constant added to g changes nothing, so g is made zero at a class with p > 1/2: there g - sum p g would cancel, and a
    student that is sure (p = 1 in floating point) would get rounding noise for a gradient.
    """
    slope -= _dot(p.round(), slope).unsqueeze(-1)
    mean = _dot(p, slope).unsqueeze(-1)
    return slope.sub_(mean).mul_(p)


def _log_softmax(z: Tensor) -> Tensor:
    # float32 logits can be further apart than the largest float32: saturates, for -inf * 0 is NaN.
    return F.log_softmax(z, dim=-1).clamp_(min=-0.99 * torch.finfo(z.dtype).max)


@_closed_form
def cross_entropy(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """- sum q ln p, in [H(q), inf)."""
    value = -_dot(q, _log_softmax(z))
    return value, F.softmax(z, dim=-1).sub_(q)


@_closed_form
def kullback_leibler(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """sum q ln(q / p), in [0, inf): the teacher first. Its gradient is that of the cross-entropy."""
    p = F.softmax(z, dim=-1)
    # ln(q / p) = log1p((q - p) / p); the part of ln p below the smallest float is added apart. Where q is 0 in comparison
    # with p the logarithm is cut off, for 0 * -inf is NaN.
    ratio = torch.sub(q, p).div_(p.clamp_min(_tiny(p))).clamp_(min=-1 + torch.finfo(p.dtype).eps)
    floor = math.log(_tiny(p))
    log_ratio = _log1p_(ratio).sub_(_log_softmax(z).clamp_(max=floor).sub_(floor))
    gradient = p.sub_(q)
    # + sum (p - q) = 0 makes each term >= 0, so that nothing cancels near p = q.
    return log_ratio.mul_(q).add_(gradient).sum(-1).clamp_(min=0), gradient


def _js(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    p = F.softmax(z, dim=-1)
    half = torch.sub(q, p).mul_(0.5)
    log_p = _log1p_(half / p.clamp_min(_tiny(p))).neg_()  # ln(p / m), m = (p + q) / 2
    log_q = _log1p_(half.neg_().div_(q.clamp_min(_tiny(p))))  # -ln(q / m)
    value = (_dot(p, log_p) - _dot(q, log_q)).mul_(0.5).clamp_(min=0)
    return value, _through_softmax(p, log_p.mul_(0.5))


@_closed_form
def jensen_shannon(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """H((p + q) / 2) - (H(p) + H(q)) / 2, in [0, ln 2]; its square root is a metric."""
    return _js(q, z)


@_closed_form
def structural_entropic(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """C((p + q) / 2) / sqrt(C(p) C(q)) - 1 with C = exp H, in [0, 1]; equals expm1 of the Jensen-Shannon divergence."""
    js, gradient = _js(q, z)
    value = js.expm1_()
    return value, gradient.mul_((1 + value).unsqueeze(-1))


@_closed_form
def triangular(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """1 - sum 2pq / (p + q) = 1/2 sum (p - q)^2 / (p + q), in [0, 1]. Source: Connor et al. 2024, Entropy 26(6):491."""
    p = F.softmax(z, dim=-1)
    difference = p - q
    ratio = torch.add(p, q).clamp_(min=_tiny(p))
    torch.div(difference, ratio, out=ratio)
    value = _dot(difference, ratio).mul_(0.5)
    slope = torch.addcmul(ratio, ratio, ratio, value=-0.5, out=difference)
    return value, _through_softmax(p, slope)


@_closed_form
def squared_error(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """sum (p - q)^2, in [0, 2]."""
    p = F.softmax(z, dim=-1)
    difference = p - q
    value = _dot(difference, difference)
    return value, _through_softmax(p, difference.mul_(2))


MEASURES: dict[str, Measure] = {
    "ce": cross_entropy,
    "kl": kullback_leibler,
    "js": jensen_shannon,
    "td": triangular,
    "sed": structural_entropic,
    "mse": squared_error,
}

# Times this a measure agrees with KL to second order near p = q (``--kd-scale matched``); what is not here counts 1.
SECOND_ORDER: dict[str, float] = {"td": 2.0, "js": 4.0, "sed": 4.0}


def dissimilarity(measure: str, teacher_probs: Tensor, student_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """How unlike the teacher's and the student's predictions are, by one of `MEASURES`.

    Args:
        measure: "ce", "kl", "js", "td", "sed" or "mse".
        teacher_probs: probabilities q, float ``[batch, classes]``, rows sum to 1, zeros allowed; a constant.
        student_logits: logits z, the same shape, any finite float; p = softmax(z / temperature). Gradients flow through
            these, once: there is no second derivative. float64 is computed in float64, all else in float32.
        temperature: > 0, no unit; the values are not multiplied by its square.

    Returns:
        ``[batch]``, in nats for CE, KL and JS, no unit for the others. Finite, as is the gradient; CE and KL saturate
        where a gap of logits over the temperature exceeds the largest float.

    Raises:
        ConfigError: there is no such measure; the known ones are listed.
        ValueError: the shapes differ or are not ``[batch, classes]``, or the temperature is not > 0.
    """
    if measure not in MEASURES:
        raise ConfigError(f"measure must be one of {', '.join(MEASURES)}, got {measure}")
    if teacher_probs.shape != student_logits.shape or student_logits.ndim != 2:
        raise ValueError(
            "teacher_probs and student_logits must both be [batch, classes], "
            f"got {list(teacher_probs.shape)} and {list(student_logits.shape)}"
        )
    if not temperature > 0:  # written so that NaN fails too
        raise ValueError(f"temperature must be > 0, got {temperature}")
    z = student_logits if student_logits.dtype in (torch.float32, torch.float64) else student_logits.float()
    if temperature != 1:
        # The largest logit becomes 0 first, so that a low temperature cannot make it infinite.
        z = (z - z.detach().amax(dim=-1, keepdim=True)) / temperature
    return MEASURES[measure](teacher_probs.detach().to(z.dtype), z)

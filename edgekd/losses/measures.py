"""Dissimilarity measures of two predictions: CE, KL, JS, TD, SED and MSE.

q are the teacher's probabilities, p = softmax(z / T) the student's. Logarithms are natural. Each sample has one value.

A measure is a function of q and z / T. Most measures here are closed forms: one formula gives the value and the
gradient. This is faster than autograd, which visits every operation twice. It is also more precise than autograd of the
textbook forms in three cases: near p = q, where probabilities underflow, and where a teacher's probability is 0.

- Each term of a sum is >= 0 and has slope 0 at p = q, e.g. w ln w - w + 1 instead of w ln w. So rounding errors are of
  second order.
- The softmax turns a slope g = dD/dp into dD/dz_k = p_k (g_k - sum_j p_j g_j); see `_through_softmax`.

A new measure may also be plain torch with autograd: write one function, and add its name to `MEASURES` and to
`edgekd.names`.
"""

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from edgekd import names
from edgekd.errors import ConfigError
from edgekd.extensions import Function, is_extension, load_function, refuse_object, spelt
from edgekd.names import NWAY_MEASURES

# q and z / T, both [batch, classes], float32 or float64 -> [batch]
Measure = Callable[[Tensor, Tensor], Tensor]
# the same -> the value [batch], and its gradient with respect to z / T [batch, classes]
Formula = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class _ClosedForm(torch.autograd.Function):
    """Autograd for a formula that computes a value and its gradient together; the backward pass uses this gradient."""

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


# The formulas work in place if a tensor is not needed again: at [256, 397], allocation takes as long as the arithmetic.


def _floor(t: Tensor) -> float:
    return 2 * torch.finfo(t.dtype).tiny  # twice the smallest normal number, so that its half is normal too


def _softmax(z: Tensor) -> Tensor:
    # Above 0, so that a ratio is never 0 / 0.
    return F.softmax(z, dim=-1).clamp_(min=_floor(z))


def _log_softmax(z: Tensor) -> Tensor:
    # float32 logits can be further apart than the largest float32. The clamp avoids -inf, since 0 * -inf is NaN.
    return F.log_softmax(z, dim=-1).clamp_(min=-0.99 * torch.finfo(z.dtype).max)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.mul(a, b).sum(dim=-1)  # [batch]


def _through_softmax(p: Tensor, slope: Tensor) -> Tensor:
    """The gradient with respect to z / T, p (g - sum p g), from the slope g = dD/dp. Overwrites both arguments.

    Adding a constant to g does not change the result. So g is first shifted to be 0 at the class with p > 1/2, if there
    is one. Without this shift, g - sum p g would cancel there, and the gradient of a very confident student (p rounds
    to 1) would be rounding noise.
    """
    slope.sub_(p.round().mul_(slope).sum(dim=-1, keepdim=True))
    slope.sub_(_dot(p, slope).unsqueeze(-1))
    return p.mul_(slope)


@_closed_form
def cross_entropy(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each sample, - sum q ln p, in [H(q), inf)."""
    return -_dot(q, _log_softmax(z)), _softmax(z).sub_(q)


def _floored_kl(p: Tensor, q: Tensor) -> Tensor:
    t = p / q
    return torch.log(t).neg_().add_(t.sub_(1)).mul_(q).sum(dim=-1)  # q (t - 1 - ln t)


def _below_floor(z: Tensor) -> Tensor:
    floor = math.log(_floor(z))
    return _log_softmax(z).clamp_(max=floor).sub_(floor)  # how far ln p is below the floor, <= 0


@_closed_form
def kullback_leibler(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Kullback-Leibler divergence of each sample, sum q ln(q / p), in [0, inf); its gradient is that of CE."""
    p = _softmax(z)
    value = _floored_kl(p, q.clamp_min(_floor(q))) - _below_floor(z).mul_(q).sum(dim=-1)
    return value.clamp_(min=0), p.sub_(q)


def _twice_js(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Twice the JS divergence, sum p ln(p / m) + q ln(q / m) with m = (p + q) / 2, and its slope ln(p / m)."""
    m = torch.lerp(p, q, 0.5)
    w = p / m
    v = (2 - w).clamp_(min=_floor(p))  # q / m
    term = torch.log(v).mul_(v).sub_(v.sub_(1))  # v ln v - v + 1
    log_w = torch.log(w, out=v)
    term.addcmul_(log_w, w).sub_(w.sub_(1))  # + w ln w - w + 1
    return term.mul_(m).sum(dim=-1).clamp_(min=0), log_w


@_closed_form
def jensen_shannon(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Jensen-Shannon divergence of each sample, H((p + q) / 2) - (H(p) + H(q)) / 2, in [0, ln 2].

    Its square root is a metric.
    """
    p = _softmax(z)
    twice, slope = _twice_js(p, q)
    return twice.mul_(0.5), _through_softmax(p, slope.mul_(0.5))


def structural_entropic(q: Tensor, z: Tensor) -> Tensor:
    """Structural entropic distance of each sample, C((p + q) / 2) / sqrt(C(p) C(q)) - 1 with C = exp H, in [0, 1].

    It equals expm1 of the Jensen-Shannon divergence.
    """
    return torch.expm1(jensen_shannon(q, z))


@_closed_form
def triangular(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Triangular divergence of each sample, 1 - sum 2pq / (p + q) = 1/2 sum (p - q)^2 / (p + q), in [0, 1].

    Source: Connor et al. 2024, Entropy 26(6):491.
    """
    p = _softmax(z)
    difference, ratio = p - q, p + q
    torch.div(difference, ratio, out=ratio)
    value = _dot(difference, ratio).mul_(0.5)
    slope = torch.addcmul(ratio, ratio, ratio, value=-0.5, out=difference)
    return value, _through_softmax(p, slope)


@_closed_form
def squared_error(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error of each sample, sum (p - q)^2, in [0, 2]."""
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
names.check_entries("measures.MEASURES", MEASURES, names.MEASURE_NAMES)


SUM_TOLERANCE = 0.01  # how far the sum of a row of probabilities may be from 1: float16 and bfloat16 round
# Multiplied by this factor, a measure agrees with KL to second order near p = q (``--kd-scale matched``). The factor of
# the measures that are not listed is 1.
SECOND_ORDER: dict[str, float] = {"td": 2.0, "js": 4.0, "sed": 4.0}


def dissimilarity(measure: Function, teacher_probs: Tensor, student_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The dissimilarity of the teacher's and the student's predictions.

    >>> dissimilarity("td", torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 0.0]]))
    tensor([0.])

    Args:
        measure: one of `MEASURES`: "ce", "kl", "js", "td", "sed" or "mse"; or a function of the user, or its name:
            "FILE.py:function" or "package.module:function".
        teacher_probs: probabilities q, float ``[batch, classes]``, rows sum to 1, zeros allowed; a constant.
        student_logits: logits z, the same shape, any finite floats; p = softmax(z / temperature). Gradients flow
            through these. There is no second derivative. float64 stays float64; other types are computed in float32.
        temperature: > 0, no unit. The values are not multiplied by its square.

    Returns:
        ``[batch]``, in nats for CE, KL and JS, no unit for the others. Values and gradients are finite. CE and KL
        saturate if logits are further apart than the largest float.

    Raises:
        ConfigError: there is no such measure (the message lists the known ones), or the user's function fails in its
            trial.
        ValueError: the shapes differ or are not ``[batch, classes]``, the teacher's rows are no probabilities, or the
            temperature is not > 0.
    """
    if teacher_probs.shape != student_logits.shape or student_logits.ndim != 2:
        raise ValueError(
            "teacher_probs and student_logits must be [batch, classes] alike, "
            f"got {list(teacher_probs.shape)} and {list(student_logits.shape)}"
        )
    sums = teacher_probs.detach().sum(dim=-1, dtype=torch.float64)
    if not (bool((teacher_probs >= 0).all()) and bool(((sums - 1).abs() <= SUM_TOLERANCE).all())):  # NaN fails too
        raise ValueError("teacher_probs must be probabilities: each >= 0, and each row sums to 1")
    return unchecked_dissimilarity(measure, teacher_probs, student_logits, temperature)


def unchecked_dissimilarity(
    measure: Function, teacher_probs: Tensor, student_logits: Tensor, temperature: float
) -> Tensor:
    """`dissimilarity` of tensors that are known to be sound: looking at their values would wait for the device."""
    z = _scaled(student_logits, temperature)
    return _find(measure)(teacher_probs.detach().to(z.dtype), z)


def nway_dissimilarity(measure: Function, teachers: Tensor, student_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The dissimilarity of n predictions, the student's among them: JS = H(mean) - mean(H), or expm1(JS) / (n - 1).

    Args:
        measure: "js" or "sed".
        teachers: probabilities, float ``[n - 1, batch, classes]``, rows sum to 1, zeros allowed; constants.
        student_logits: ``[batch, classes]``, as in `dissimilarity`.
        temperature: > 0, no unit.

    Returns:
        ``[batch]``: "js" in [0, ln n], "sed" in [0, 1]. With one teacher they equal JS and SED of two predictions.

    Raises:
        ValueError: the shapes do not match, `measure` is another one, or the temperature is not > 0.
    """
    if measure not in NWAY_MEASURES:
        raise ValueError(f"measure must be one of {', '.join(NWAY_MEASURES)}, got {spelt(measure)}")
    if teachers.ndim != 3 or teachers.shape[1:] != student_logits.shape or not len(teachers):
        raise ValueError(f"teachers must be one or more of {list(student_logits.shape)}, got {list(teachers.shape)}")
    z = _scaled(student_logits, temperature)
    js: Tensor = _ClosedForm.apply(teachers.detach().to(z.dtype), z, _nway_js)
    return js if measure == "js" else torch.expm1(js) / len(teachers)


def second_order(measure: Function, nway: int | None = None) -> float:
    """The factor that makes a measure agree with KL to second order near p = q.

    Args:
        measure: any measure; the factor of one that is not in `SECOND_ORDER` is 1.
        nway: for the n-way form, the number of predictions; all except the student's are assumed to be equal. None: the
            form of two predictions.
    """
    if nway is None:
        return SECOND_ORDER.get(measure, 1.0) if isinstance(measure, str) else 1.0
    return nway**2 / (nway - 1) if measure == "js" else float(nway**2)


def _nway_js(q: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The Jensen-Shannon divergence of n predictions: those of n - 1 teachers, and the student's, softmax(z).

    With m the mean of the n predictions, it is the mean of sum p ln(p / m) over them.

    Args:
        q: the teachers' probabilities, ``[n - 1, batch, classes]``.
        z: the student's logits divided by the temperature, ``[batch, classes]``.

    Returns:
        The divergence of each sample, ``[batch]``; and its gradient with respect to `z`, ``[batch, classes]``.
    """
    own, n = _softmax(z), len(q) + 1
    m = ((q.sum(dim=0) + own) / n).clamp_(min=_floor(z))
    w = torch.cat([q, own.unsqueeze(0)]) / m  # [n, batch, classes]
    log_w = w.clamp(min=_floor(z)).log_()
    value = (torch.mul(w, log_w).sub_(w).add_(1).mul_(m)).sum(dim=(0, -1)) / n  # m (w ln w - w + 1), each >= 0
    return value.clamp_(min=0), _through_softmax(own, log_w[-1] / n)


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    """The logits divided by the temperature, z / T, in float32 or float64."""
    if not temperature > 0:  # written so that NaN fails too
        raise ValueError(f"temperature must be > 0, got {temperature}")
    z = logits if logits.dtype == torch.float64 else logits.float()
    if temperature == 1:
        return z
    # First the largest logit becomes 0, so that a low temperature cannot make it infinite.
    return (z - z.detach().amax(dim=-1, keepdim=True)) / temperature


def _find(name: Function) -> Measure:
    if isinstance(name, str) and name in MEASURES:
        return MEASURES[name]
    refuse_object(name, "measure")
    if is_extension(name):
        return _own(name)
    raise ConfigError(
        f"measure must be one of {', '.join(MEASURES)}, FILE.py:function or package.module:function, got {name}"
    )


@functools.lru_cache(maxsize=64)
def _own(name: Function) -> Measure:
    """The user's function, after a trial: each sample must have one finite value and a finite gradient."""
    function, called = load_function(name), spelt(name)
    q = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    z = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, -3.0], [120.0, 0.0, -120.0], [0.0, 0.0, 0.0]], requires_grad=True)
    try:
        value = function(q.clone(), z)
        _require(isinstance(value, Tensor), f"it returns {type(value).__name__}, not a tensor")
        _require(value.shape == q.shape[:1], f"it makes {list(value.shape)} of [batch, classes] = {list(q.shape)}")
        (gradient,) = torch.autograd.grad(value.sum(), z)
    except Exception as error:  # whatever the user's function raises
        raise ConfigError(f"measure {called} must give one value a sample: {error}") from error
    for what, got in (("value", value), ("gradient", gradient)):
        if not got.isfinite().all():
            bad = int((~got.reshape(len(q), -1).isfinite()).any(dim=1).nonzero()[0])
            case = f"teacher {[round(x, 3) for x in q[bad].tolist()]} and logits {z[bad].tolist()}"
            raise ConfigError(f"measure {called} must be finite: its {what} for {case} is {got[bad].tolist()}")
    return function


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)

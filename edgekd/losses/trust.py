"""Trust: how much each neighbour has disagreed with the others so far, and its weight. Pure functions.

The student's loss does not reveal a confident liar, and the predictions of two neighbours do not reveal which of them
lies. But the student has its own predictions on the same images. They may be poor for classes that it has seen rarely,
but they are honest. So in each lesson, each neighbour is compared with the median of all predictions, which includes
the student's own.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.losses.combinations import median
from edgekd.losses.measures import unchecked_dissimilarity

Scores = Mapping[int, Tensor]  # neighbour id -> score, a float32 scalar in [0, 1] on the learner's device

RATE = 0.1  # weight of the newest lesson in a score; a score remembers about ten lessons
SCALE = 0.1  # so much more disagreement divides the weight of a neighbour by e
MOST = 128  # scores to keep; the board keeps as many neighbours


def disagreements(teachers: Tensor, own: Tensor) -> Tensor:
    """The disagreement of each teacher in one lesson: JS / ln 2 between it and the median, averaged over the samples.

    Args:
        teachers: probabilities ``[teachers, batch, classes]``, rows sum to 1.
        own: the student's probabilities on the same images, ``[batch, classes]``; they are part of the median.

    Returns:
        float32 ``[teachers]`` in [0, 1], no unit. 0: the teacher's predictions equal the median. 1: they have no class
        in common with it.
    """
    everybody = torch.cat([own.unsqueeze(0), teachers]).float()
    middle = median(everybody).expand_as(teachers)
    # JS is symmetric, so either of the two may be passed as logits.
    logits = teachers.float().clamp_min(torch.finfo(torch.float32).tiny).log()
    js = unchecked_dissimilarity("js", middle.flatten(0, 1), logits.flatten(0, 1), 1.0)  # [teachers * batch]
    return (js.view(len(teachers), -1).mean(dim=1) / math.log(2)).clamp(0.0, 1.0)


def updated(scores: Scores, ids: Sequence[int], found: Tensor) -> dict[int, Tensor]:
    """Update the scores after a lesson by an exponential moving average. The first score is the disagreement itself.

    Args:
        scores: the scores before the lesson.
        ids: the ids of the lesson's teachers.
        found: their `disagreements`, ``[teachers]``.

    Returns:
        New scores, at most `MOST`, with the lesson's teachers last. If there are more, those that were not updated for
        the longest time are dropped.
    """
    before = torch.stack([scores.get(id, found[i]) for i, id in enumerate(ids)])
    now = torch.lerp(before, found, RATE)
    kept = {id: score for id, score in scores.items() if id not in ids}
    kept.update(zip(ids, now.unbind(), strict=True))
    return dict(list(kept.items())[-MOST:])


def relative(scores: Mapping[int, float]) -> dict[int, float]:
    """The trust in each neighbour, relative to the others: exp((the smallest score - its own score) / SCALE).

    Args:
        scores: neighbour id -> score, in [0, 1].

    Returns:
        neighbour id -> trust, in (0, 1]; 1 for the neighbour that disagrees least. Equal scores give equal trust.
    """
    least = min(scores.values(), default=0.0)
    return {id: math.exp((least - score) / SCALE) for id, score in scores.items()}


def weights(scores: Sequence[Tensor]) -> Tensor:
    """The weight of each teacher in their mean: exp(-score / SCALE), normalised.

    These are the exponential weights of prediction with expert advice. They depend only on the differences of the
    scores. If all neighbours disagree equally, whether a little or, as with skewed shards, a lot, their weights are
    equal. No weight is 0. The weight of the best neighbour is at least 1 / teachers.

    Args:
        scores: the scores of the teachers, scalars in [0, 1].

    Returns:
        ``[teachers]``, each > 0; they sum to 1.

    Source: Littlestone and Warmuth 1994, The weighted majority algorithm; Freund and Schapire 1997 (Hedge).
    """
    return F.softmax(torch.stack(list(scores)) / -SCALE, dim=0)

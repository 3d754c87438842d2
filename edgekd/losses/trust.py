"""How far each neighbour has agreed with the rest so far, and how much that makes it count. Pure functions.

Confident lies do not show in one's loss, and of two neighbours neither shows which of them lies. But one has
predictions of one's own, on the same images: poor on what one has seen little of, yet no lies. So what a neighbour says
is held against the middle of what everybody says, oneself among them, lesson by lesson.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.losses.combinations import median
from edgekd.losses.measures import dissimilarity

Scores = Mapping[int, Tensor]  # by the neighbour's id: a float32 scalar in [0, 1] on the learner's device

RATE = 0.1  # weight of the newest lesson in a score: it remembers some ten
SCALE = 0.1  # disagreement that makes a neighbour count e times less
MOST = 128  # scores that are kept, as many as the board keeps neighbours


def disagreements(teachers: Tensor, own: Tensor) -> Tensor:
    """How unlike the middle of all predictions each teacher's are in one lesson: the mean over samples of JS / ln 2.

    Args:
        teachers: probabilities ``[teachers, batch, classes]``, rows sum to 1.
        own: the student's probabilities on the same images, ``[batch, classes]``.

    Returns:
        float32 ``[teachers]`` in [0, 1], no unit: 0 where a teacher says what the middle says, 1 where it believes
        only in what the middle rules out.
    """
    everybody = torch.cat([own.unsqueeze(0), teachers]).float()
    middle = median(everybody).expand_as(teachers)
    # JS is symmetric, so either may be the one that is given as logits.
    logits = teachers.float().clamp_min(torch.finfo(torch.float32).tiny).log()
    js = dissimilarity("js", middle.flatten(0, 1), logits.flatten(0, 1))  # [teachers * batch]
    return (js.view(len(teachers), -1).mean(dim=1) / math.log(2)).clamp(0.0, 1.0)


def updated(scores: Scores, ids: Sequence[int], found: Tensor) -> dict[int, Tensor]:
    """The scores after a lesson: exponentially smoothed, a newcomer's is what was found.

    Args:
        scores: so far.
        ids: of the lesson's teachers.
        found: their `disagreements`, ``[teachers]``.

    Returns:
        New scores: the lesson's teachers last, at most `MOST`; of more, those not heard for longest are forgotten.
    """
    before = torch.stack([scores.get(id, found[i]) for i, id in enumerate(ids)])
    now = torch.lerp(before, found, RATE)
    kept = {id: score for id, score in scores.items() if id not in ids}
    kept.update(zip(ids, now.unbind(), strict=True))
    return dict(list(kept.items())[-MOST:])


def weights(scores: Sequence[Tensor]) -> Tensor:
    """What each teacher weighs in their mean: exp(-score / SCALE), normalised.

    The exponential weights of prediction with expert advice, where whoever is wrong by as much is cut by as much. They
    depend on differences of scores alone: neighbours who are all far away, as on skewed shards, weigh alike. No weight
    is 0, the best neighbour's is at least 1 / teachers, and equal scores give equal weights.

    Args:
        scores: of the teachers, scalars in [0, 1].

    Returns:
        ``[teachers]``, each > 0; they sum to 1.

    Source: Littlestone and Warmuth 1994, The weighted majority algorithm; Freund and Schapire 1997 (Hedge).
    """
    return F.softmax(torch.stack(list(scores)) / -SCALE, dim=0)

"""The private batches of a learner, a pure function of its seed, its private images and the step."""

from collections.abc import Callable

import torch
from torch import Tensor

from edgekd.data.sources import Labelled
from edgekd.seeds import seeded


class PrivateBatches:
    """The private images in batches: the next ones of the epoch, and of the following epoch at its end.

    The order of an epoch is drawn from its number and the number of images. A set that has changed has batches of its
    own, from the step on that is next: as if it had always been so, which a restarted peer then finds. Of the epoch in
    which a set changes some images may be drawn twice, and others not.

    Args:
        private: the images and their labels.
        size: of a batch.
        augment: from uint8 ``[batch, 3, S, S]`` to the same, drawing from torch's global generator.
        seed: a seed of the learner's own, by names.
    """

    def __init__(
        self, private: Labelled, size: int, augment: Callable[[Tensor], Tensor], seed: Callable[..., int]
    ) -> None:
        self._private, self._size, self._augment, self._seed = private, size, augment, seed
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))  # of an epoch

    def at(self, step: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Those of `step`, on `device`: augmented images, uint8 ``[batch, 3, S, S]``; labels, int64 ``[batch]``."""
        count = len(self._private.labels)
        wanted = torch.arange(step * self._size, (step + 1) * self._size)
        parts = [
            self._epoch(epoch)[wanted[wanted // count == epoch] % count]
            for epoch in (wanted // count).unique().tolist()
        ]
        chosen = torch.cat(parts)
        images, labels = self._private.images[chosen].to(device), self._private.labels[chosen].to(device)
        with seeded(self._seed("study", step), device):
            return self._augment(images), labels

    def _epoch(self, epoch: int) -> Tensor:
        """The order of the private images in an epoch."""
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self._seed("order", epoch))
            self._order = (epoch, torch.randperm(len(self._private.labels), generator=generator))
        return self._order[1]

"""The private batches of a learner, as a pure function of its seed, its private images and the step."""

from collections.abc import Callable

import torch
from torch import Tensor

from edgekd.data.sources import Labelled
from edgekd.seeds import seeded


class PrivateBatches:
    """The private images in batches, epoch after epoch; a batch may cross the end of an epoch.

    The order of an epoch depends on its number and on the number of images. If the set of images changes, new batches
    follow from the next step on, as if the set had always been this one; so a restarted peer finds the same batches. In
    the epoch of the change, some images may be drawn twice and others not at all.

    Args:
        private: the images and their labels.
        size: the number of images in a batch.
        augment: from uint8 ``[batch, 3, S, S]`` to the same shape, with torch's global random generator.
        seed: a function from names to a seed of this learner.
    """

    def __init__(
        self, private: Labelled, size: int, augment: Callable[[Tensor], Tensor], seed: Callable[..., int]
    ) -> None:
        self._private, self._size, self._augment, self._seed = private, size, augment, seed
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))  # number of an epoch, and its order

    def at(self, step: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The batch of `step`, on `device`.

        Returns:
            Augmented images, uint8 ``[batch, 3, S, S]``, and labels, int64 ``[batch]``.
        """
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
        """The order of the private images in an epoch, int64 ``[images]``."""
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self._seed("order", epoch))
            self._order = (epoch, torch.randperm(len(self._private.labels), generator=generator))
        return self._order[1]

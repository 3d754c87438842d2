"""A learner: one network, its private shard and the public set. A state machine without I/O, clocks or threads.

Each step is `teach` (where a broadcast is due), `study`, `learn`; the caller carries the predictions. The simulation,
the peer's process and the tests all drive it so.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.augment import normalise, private_augmentation
from edgekd.config import Config
from edgekd.datasets import Labelled, PeerData
from edgekd.distillation import distil, kd_weight, label_loss, log_prior
from edgekd.errors import ConfigError, LocalProtocolError
from edgekd.evaluation import Accuracy, evaluate
from edgekd.messages import Lesson
from edgekd.models import make_model
from edgekd.optimiser import learning_rate, make_optimiser
from edgekd.public import check_enough
from edgekd.seeds import derive, seeded


@dataclass(frozen=True, slots=True)
class Losses:
    """What one step lost; scalars on the learner's device, so that reading them is the caller's choice."""

    labels: Tensor
    distil: Tensor | None  # None: the step had no lesson

    def numbers(self) -> dict[str, float | None]:
        """By name; None also where training has diverged: JSON knows no NaN. Waits for the device."""
        return {"labels": _finite(self.labels), "distil": None if self.distil is None else _finite(self.distil)}


def _finite(loss: Tensor) -> float | None:
    return float(loss) if loss.isfinite() else None


def choose_device(name: str) -> torch.device:
    """The device of ``--device``; "auto" is CUDA where there is one, else MPS, else the CPU.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be auto, cpu, cuda, cuda:N or mps, got {name}") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device must be auto, cpu, cuda, cuda:N or mps, got {name}")
    present = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[device.type]
    if (device.index or 0) >= present:
        raise ConfigError(f"device {name} is not there ({present} of its kind); use --device auto or cpu")
    return device


class Learner:
    """One peer's learning.

    Args:
        data: what it trains and is evaluated on.
        config: alpha, measure, steps and the rest.
        id: of the peer, >= 0; mixed into every seed.

    Raises:
        ConfigError: the network, its weights or the device cannot be had, or there are too few public images.
    """

    def __init__(self, data: PeerData, config: Config, id: int) -> None:
        self.config, self.id, self.step = config, id, 0
        self.device = choose_device(config.train.device)
        self._private, self._public = data.private, data.public
        size = data.private.images.shape[-1]
        check_enough(len(data.public), config.train.public_batch)
        with seeded(self._seed("init")):
            model = make_model(config.model.for_client(id), config.weights, len(data.classes), size)
        self.model: nn.Module = model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = make_optimiser(self.model, config.train)
        self._augment = private_augmentation(config.augment, size)
        self._prior = log_prior(data.private.labels, len(data.classes)).to(self.device)
        self._shard = torch.bincount(data.private.labels, minlength=len(data.classes))
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))
        self._kept: tuple[int, Tensor] | None = None  # round and logits of a public pass, with its graph
        self._labels_loss: Tensor | None = None

    @property
    def balanced(self) -> bool:
        return self.config.distill.balance == "on"

    def teach(self, round: int, *, keep: bool = False) -> Tensor:
        """Predictions on the public batch of `round`.

        Args:
            round: which public batch.
            keep: this round will be the step's lesson (always so in lockstep): keep the pass for `learn`.

        Returns:
            log softmax(logits / T), float32 ``[heads, rows, classes]``, on the learner's device.
        """
        with torch.set_grad_enabled(keep):
            logits = self._public_logits(round)
        self._kept = (round, logits) if keep else None
        return F.log_softmax(logits.detach() / self.config.distill.temperature, dim=-1)

    def study(self) -> None:
        """The forward pass on this step's private batch."""
        images, labels = self._private_batch()
        with seeded(self._seed("study", self.step), self.device):
            logits = self._forward(normalise(self._augment(images)))
        self._labels_loss = label_loss(logits[0], labels, self._prior if self.balanced else None)

    def learn(self, lesson: Lesson | None) -> Losses:
        """Finish the step: both backward passes and the optimiser's.

        Without a lesson, or at alpha 1, the step is what a lone peer's would be.

        Raises:
            LocalProtocolError: `study` was not called in this step.
        """
        if self._labels_loss is None:
            raise LocalProtocolError("learn() needs study() first")
        labels, self._labels_loss = self._labels_loss, None
        kept, self._kept = self._kept, None
        distill = self.config.distill
        self.optimiser.zero_grad(set_to_none=True)
        loss: Tensor | None = None
        if lesson is None or distill.alpha == 1:
            labels.backward()
        else:
            (distill.alpha * labels).backward()
            logits = kept[1] if kept and kept[0] == lesson.round else self._public_logits(lesson.round)
            teachers = [probs[0].to(self.device, non_blocking=True) for probs in lesson.teachers.values()]
            loss = distil(teachers, logits[0], distill)
            ((1 - distill.alpha) * kd_weight(distill, self.step) * loss).backward()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config.train, self.config.peak_lr, self.step)
        self.optimiser.step()
        self.step += 1
        return Losses(labels.detach(), None if loss is None else loss.detach())

    def evaluate(self, evaluation: Labelled, *, stop: Callable[[], bool] = lambda: False) -> Accuracy | None:
        """Accuracy on `evaluation`; None if `stop()` became true on the way."""

        def predict(images: Tensor) -> Tensor:
            return self._forward(normalise(images.to(self.device)))[-1]

        self.model.eval()
        try:
            prior = self._prior if self.balanced else None
            return evaluate(predict, evaluation, shard=self._shard, log_prior=prior, stop=stop)
        finally:
            self.model.train()

    def weights_sha256(self) -> str:
        """SHA-256 of the state_dict in the order of its names: equal if and only if every weight is."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def state(self) -> dict[str, Tensor]:
        """Everything that changes as it learns, apart from `step`: ``model.*`` and ``momentum.*``.

        No random state: every draw is a function of the seed, the id and the step.
        """
        state = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            buffer = self.optimiser.state[parameter].get("momentum_buffer")
            if buffer is not None:
                state[f"momentum.{name}"] = buffer
        return state

    def restore(self, state: dict[str, Tensor], step: int) -> None:
        """Go on from `state()` as it was at `step`.

        Raises:
            ConfigError: it is the state of another network.
        """
        try:
            self.model.load_state_dict({k[6:]: v for k, v in state.items() if k.startswith("model.")})
        except RuntimeError as error:
            raise ConfigError(f"the checkpoint is of another network: {str(error).splitlines()[1].strip()}") from error
        for name, parameter in self.model.named_parameters():
            if f"momentum.{name}" in state:
                buffer = state[f"momentum.{name}"].to(self.device)
                self.optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
        self.step = step

    def _seed(self, *names: int | str) -> int:
        return derive(self.config.train.seed, "peer", self.id, *names)

    def _forward(self, images: Tensor) -> Tensor:
        bfloat16 = self.config.train.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            logits: Tensor = self.model(images)
        return logits.float()

    def _public_logits(self, round: int) -> Tensor:
        """Logits of a public batch, with the batch's own statistics; the running ones stay as they are."""
        images = self._public.batch(round, self.config.train.public_batch).to(self.device, non_blocking=True)
        with seeded(self._seed("public", round), self.device), frozen_statistics(self.model):
            return self._forward(normalise(images))

    def _private_batch(self) -> tuple[Tensor, Tensor]:
        """This step's images and labels: consecutive cuts of one epoch's order after another's."""
        size, count = self.config.train.batch, len(self._private.labels)
        wanted = torch.arange(self.step * size, (self.step + 1) * size)
        parts = [
            self._epoch(epoch)[wanted[wanted // count == epoch] % count]
            for epoch in (wanted // count).unique().tolist()
        ]
        chosen = torch.cat(parts)
        return self._private.images[chosen].to(self.device), self._private.labels[chosen].to(self.device)

    def _epoch(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self._seed("order", epoch))
            self._order = (epoch, torch.randperm(len(self._private.labels), generator=generator))
        return self._order[1]


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """In this block batch norm in training mode does not add the batch's statistics to the running ones."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True

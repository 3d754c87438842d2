"""A learner: one network, its private shard and the public set. It is a state machine without I/O, clocks or threads.

A step calls `teach` (only if a broadcast is due), `study` and `learn`, in this order. The caller transports the
predictions. The simulation, the peer's process and the tests all drive a learner in this way.

With one head, this head has both losses. With several heads, head 0 learns from the labels, and head i learns from the
neighbours' head i - 1; alpha mixes the labels into those heads. With two phases, the learner is alone for the first
half of its steps. After that, a frozen copy of it teaches.
"""

import copy
import dataclasses
import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from edgekd.config import Config
from edgekd.data.augment import normalise, private_augmentation
from edgekd.data.datasets import Labelled, PeerData
from edgekd.errors import ConfigError, LocalProtocolError
from edgekd.extensions import spelt
from edgekd.files.tensors import tensors_sha256
from edgekd.learning.batches import PrivateBatches
from edgekd.learning.devices import choose_device, compute_reproducibly, generator_state
from edgekd.learning.discriminant import end_as_discriminant, start_as_discriminant
from edgekd.learning.divergence import check_finite
from edgekd.learning.evaluation import Accuracy, evaluate
from edgekd.learning.freezing import freeze
from edgekd.learning.models import Classifier, model_from_config
from edgekd.learning.optimiser import learning_rate, make_optimiser, optimiser_state, restore_optimiser
from edgekd.learning.statistics import (
    Statistics,
    copied_statistics,
    frozen_statistics,
    move_statistics,
    norm_layers,
    train_mode,
)
from edgekd.learning.weights import misfit
from edgekd.losses import trust
from edgekd.losses.combinations import combine
from edgekd.losses.distillation import check_loss, distil_heads, label_loss, log_prior, warm_up, weigh_labels
from edgekd.names import AGREEMENT
from edgekd.protocol.messages import Lesson
from edgekd.seeds import derive, seeded

log = logging.getLogger("edgekd")


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses of one step: scalars on the learner's device. The caller decides when to wait for their values."""

    labels: Tensor
    distil: Tensor | None  # None: the step had no lesson

    def numbers(self) -> dict[str, float | None]:
        """The losses by name; None for NaN and infinity, which JSON does not have. Waits for the device."""
        return {"labels": _finite(self.labels), "distil": None if self.distil is None else _finite(self.distil)}


@dataclass(frozen=True, slots=True)
class Pass:
    """A forward pass on a batch of images."""

    logits: Tensor  # [heads, images, classes]
    statistics: Statistics  # of batch norm, as this pass would move them; empty if it has no say in them


def _finite(loss: Tensor) -> float | None:
    return float(loss) if loss.isfinite() else None


class Learner:
    """The learning of one peer.

    >>> config = Config.of(limit=100, clients=2, steps=1, batch=8, public_batch=8)
    >>> first, second = (Learner(data, config, id) for id, data in enumerate(load_group(config.data, seed=0)))
    >>> log_probs = second.teach(0)  # predictions of the public batch of round 0
    >>> first.study()
    >>> losses = first.learn(Lesson(0, {1: log_probs.exp()}))
    >>> first.step, losses.distil >= 0
    (1, tensor(True))

    Args:
        data: the images for training and for evaluation.
        config: all settings.
        id: of the peer, >= 0; part of every seed.

    Raises:
        ConfigError: the network, its weights or the device are not available; nothing of the network is left to be
            trained; there are too few public images; or the user's measure or combination fails in its trial.
    """

    def __init__(self, data: PeerData, config: Config, id: int) -> None:
        self.config, self.id, self.step = config, id, 0
        self.device = choose_device(config.train.device)
        compute_reproducibly(self.device)
        self._public = data.public
        size = data.private.images.shape[-1]
        self._rows = data.public.rows(config.public_batch)
        check_loss(config.distill)
        with seeded(self._seed("init")):
            model = model_from_config(config.model, id, weights=config.weights, classes=len(data.classes), size=size)
        self.model: Classifier = model.to(device=self.device, memory_format=model.memory_format)  # type: ignore[call-overload]
        self._in_evaluation = freeze(self.model.backbone, config.freeze)  # modules that are so in training, too
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            raise ConfigError(
                f"freeze {config.freeze:g} leaves nothing of {spelt(config.model.for_client(id))} to be trained"
            )
        if config.norm_from == "frozen":
            self._in_evaluation += norm_layers(self.model)
        settable = self._has_settable_head()
        self._ends_as_discriminant = settable and config.head_end == "discriminant"
        if settable and config.head_start == "discriminant":
            start_as_discriminant(self.model, data.private, self._seed("discriminant"))
        # What the neighbours said last of each public image.
        self._said = torch.zeros(len(data.public), len(data.classes), device=self.device)
        self._train_mode()
        self.optimiser = make_optimiser(self.model, config)
        self._classes, self._augment = len(data.classes), private_augmentation(config.augment, size)
        self._batch: tuple[Tensor, Tensor] | None = None  # the images and labels of this step
        self.train_on(data.private)
        self._studied: Pass | None = None  # of the private batch, with its graph
        self._kept: tuple[int, Pass] | None = None  # of the public batch of a round, with its graph
        self._scores: trust.Scores = {}  # the disagreement of each neighbour so far
        self._frozen: nn.Module | None = None  # teaches in the second of two phases
        self.alone_until = config.steps // 2 if config.distill.two_phase else 0
        self._draws = self._uses_random_numbers(size)

    @property
    def is_alone(self) -> bool:
        """Whether the learner is in the first of two phases, in which it neither teaches nor learns from others."""
        return self.step < self.alone_until

    @property
    def balanced(self) -> bool:
        """Whether the label loss is corrected by the prior of the private shard."""
        return self.config.distill.balance == "on"

    @property
    def disagreements(self) -> dict[int, float]:
        """The disagreement of each neighbour with the others so far, in [0, 1], by id. Waits for the device."""
        if not self._scores:
            return {}
        values = torch.stack(list(self._scores.values())).tolist()
        found = sorted(zip(self._scores, values, strict=True))
        return {id: value for id, value in found if math.isfinite(value)}  # NaN if training has diverged

    def train_on(self, private: Labelled) -> None:
        """Use other private images from now on, and their class frequencies; nothing else changes.

        Args:
            private: images and labels, of the same size and classes as before.

        Raises:
            LocalProtocolError: a step has begun and is not finished.
        """
        if self._batch is not None:
            raise LocalProtocolError("train_on() belongs between two steps")
        self._private = private
        self._batches = PrivateBatches(private, self.config.batch, self._augment, self._seed)
        self._prior = log_prior(private.labels, self._classes).to(self.device)
        self._shard = torch.bincount(private.labels, minlength=self._classes)

    def teach(self, round: int, *, keep: bool = False) -> Tensor:
        """Predictions on the public batch of `round`.

        Args:
            round: the round, which names the public batch.
            keep: keep the forward pass for `learn`, since this round will be the step's lesson (always so in lockstep).

        Returns:
            log_probs = log softmax(logits / T), float32 ``[heads, rows, classes]``, on the learner's device. If
            ``noise_std`` is set, Gaussian noise with this standard deviation is added to logits / T first.
        """
        keep = keep and self._frozen is None and not self._joint  # predictions must not depend on the private batch
        with torch.set_grad_enabled(keep):
            found = self._public_pass(round, self._frozen or self.model)
        self._kept = (round, found) if keep else None
        scaled = found.logits.detach() / self.config.distill.temperature
        if noise_std := self.config.exchange.noise_std:
            scaled = scaled + noise_std * self._noise(round, scaled.shape).to(self.device)
        return F.log_softmax(scaled, dim=-1)

    def answer(self, images: Tensor) -> Tensor:
        """Predictions on the images of another learner in this process, as its teacher.

        Args:
            images: uint8 ``[batch, 3, size, size]``, on any device.

        Returns:
            Probabilities softened by the temperature, float32 ``[heads, batch, classes]``, on the learner's device.
        """
        model = self._frozen or self.model
        with torch.no_grad(), frozen_statistics(model):
            logits = self._forward(model, normalise(images.to(self.device)), "answer", self.step)
        return F.softmax(logits / self.config.distill.temperature, dim=-1)

    @property
    def studied_images(self) -> Tensor:
        """The private batch of this step, uint8 ``[batch, 3, size, size]``, on the learner's device.

        Raises:
            LocalProtocolError: `study` was not called in this step.
        """
        if self._batch is None:
            raise LocalProtocolError("the step has no batch before study()")
        return self._batch[0]

    def study(self) -> None:
        """Do the forward pass on this step's private batch.

        If ``norm_from`` is both, nothing is computed here: `learn` passes private and public batch together.
        """
        self._batch = self._batches.at(self.step, self.device)
        if not self._joint:
            self._studied = self._private_pass(self._batch[0])

    def learn(self, lesson: Lesson | None, *, stop: Callable[[], bool] = lambda: False) -> Losses:
        """Finish the step: run both backward passes and update the weights.

        Without a lesson, the step is the same as that of a peer without neighbours, and so it is with alpha 1 and one
        head. The running statistics of batch norm are moved by the private pass. If ``norm_from`` is public, the public
        pass moves them instead in steps with a lesson; if it is both, private and public images are one batch in such
        steps; if it is frozen, they never change.

        Args:
            lesson: the teachers' predictions, or None.
            stop: the last step may also set the head to a discriminant. Meanwhile `stop` is called now and then; if it
                returns True, the head stays as it was trained.

        Raises:
            LocalProtocolError: `study` was not called in this step.
        """
        if self._batch is None:
            raise LocalProtocolError("learn() needs study() first")
        distill = self.config.distill
        if self.is_alone or distill.alpha == 1:
            lesson = None
        if self._joint and lesson is not None:
            self._studied, found = self._joint_pass(self._batch[0], lesson.round)
            self._kept = lesson.round, found
        elif self._joint:
            self._studied = self._private_pass(self._batch[0])
        elif self._on_private and lesson is not None:
            assert self._studied is not None  # `study` has been called
            self._kept = lesson.round, self._studied
        assert self._studied is not None  # the batch has been through the network
        (_, labels), studied, kept = self._batch, self._studied, self._kept
        self._batch = self._studied = self._kept = None
        prior = self._prior if self.balanced else None
        label_losses = [label_loss(head, labels, prior) for head in studied.logits]
        others_teach = (lesson is not None or distill.alpha == 1) and not self.is_alone
        total = weigh_labels(label_losses, distill.alpha, taught=others_teach, two_phase=distill.two_phase)
        if total is not None and (lesson is None or not (self._joint or self._on_private)):
            total.backward()  # now: this frees the pass before the next one
            total = None
        statistics, loss = studied.statistics, None
        if lesson is not None:
            found = kept[1] if kept and kept[0] == lesson.round else self._public_pass(lesson.round, self.model)
            statistics = found.statistics or statistics
            loss = self._distil(lesson, found.logits)
            share = warm_up(distill, self.step - self.alone_until)
            weight = (1 - distill.alpha) * (self.config.kd_weight * share) * lesson.trust
            (weight * loss if total is None else total + weight * loss).backward()
        shown = label_losses[self._answering(self.step)].detach()
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        move_statistics(self.model, statistics)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)  # now: many learners share one process
        self.step += 1
        if self.step == self.alone_until:
            self._begin_second_phase()
        if self.step == self.config.steps and self._ends_as_discriminant and self._said.any():
            self._end(stop)
        return Losses(shown, None if loss is None else loss.detach())

    def _end(self, stop: Callable[[], bool]) -> None:
        """Set the head to a discriminant after the last step."""
        public, said = self._public.images, self._said.cpu()
        end_as_discriminant(self.model, self._private, public, said, self._in_evaluation, self._seed("end"), stop)
        self._train_mode()

    def abandon(self) -> None:
        """Free the memory of an unfinished step. The weights are still those of the step before."""
        self._batch = self._studied = self._kept = None
        self.optimiser.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def evaluate(self, evaluation: Labelled, *, stop: Callable[[], bool] = lambda: False) -> Accuracy | None:
        """The accuracy on `evaluation`; None if `stop()` returned true before the end.

        Raises:
            DivergedError: the predictions are NaN or infinite.
        """

        return self._evaluate(self.model, self.step, evaluation, stop)

    def evaluate_as(
        self, state: dict[str, Tensor], step: int, evaluation: Labelled, *, stop: Callable[[], bool] = lambda: False
    ) -> Accuracy | None:
        """The accuracy of an earlier `state()`, that of `step`, on `evaluation`. The learner itself does not change."""
        weights = {name: tensor.to(self.device) for name, tensor in _part(state, "model").items()}

        def model(images: Tensor) -> Tensor:
            logits: Tensor = functional_call(self.model, weights, images)
            return logits

        return self._evaluate(model, step, evaluation, stop)

    def network(self) -> nn.Module:
        """A copy of the network with its present weights, on the CPU, in evaluation mode.

        It has only the head that is evaluated. It maps normalised images, float ``[N, 3, S, S]``, to logits
        ``[N, classes]``.
        """
        return self.model.with_one_head(self._answering(self.step)).cpu().eval()

    def weights_sha256(self) -> str:
        """The SHA-256 of the state_dict. Two learners have the same one if and only if every weight is the same."""
        return tensors_sha256(self.model.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Everything that changes during training except `step`.

        Its parts are ``model.*``, ``momentum.*`` (with AdamW also ``square.*`` and ``updates.*``), ``frozen.*`` and
        ``score.*``; and, if they are used, the neighbours' predictions for the public images, ``said``. There is no
        random state, since every draw is a function of the seed, the id and the step.
        """
        state = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        state |= optimiser_state(self.optimiser, self.model)
        if self._frozen is not None:
            state |= {f"frozen.{name}": tensor for name, tensor in self._frozen.state_dict().items()}
        if self._ends_as_discriminant:
            state["said"] = self._said
        return state | {f"score.{id}": score for id, score in self._scores.items()}

    def restore(self, state: dict[str, Tensor], step: int) -> None:
        """Continue from `state()` as it was at `step`.

        Raises:
            ConfigError: the state belongs to another network, phase or optimiser.
        """
        parts = {part: _part(state, part) for part in ("model", "frozen")}
        if bool(parts["frozen"]) != (0 < self.alone_until <= step):
            phase = "with a frozen teacher" if parts["frozen"] else "without a frozen teacher"
            raise ConfigError(
                f"the checkpoint of step {step} is {phase}, which does not go with these --steps and --two-phase: "
                "resume with those that it was made with"
            )
        try:
            self.model.load_state_dict(parts["model"])
            if parts["frozen"]:
                self._frozen = self._copy()
                self._frozen.load_state_dict(parts["frozen"])
        except RuntimeError as error:
            raise ConfigError(f"the checkpoint is of another network: {misfit(error)}") from error
        restore_optimiser(self.optimiser, self.model, state)
        self._scores = {int(id): score.to(self.device) for id, score in _part(state, "score").items()}
        self._said = state.get("said", torch.zeros_like(self._said)).to(self.device)
        self.step = step

    def _evaluate(
        self, model: Callable[[Tensor], Tensor], step: int, evaluation: Labelled, stop: Callable[[], bool]
    ) -> Accuracy | None:
        def predict(images: Tensor) -> Tensor:
            logits = self._forward(model, normalise(images.to(self.device)), "evaluation", step)
            check_finite([logits], self.id, step)
            return logits

        self.model.eval()
        try:
            prior = self._prior if self.balanced else None
            head = self._answering(step)
            found = evaluate(predict, evaluation, shard=self._shard, head=head, log_prior=prior, stop=stop)
            return found and dataclasses.replace(found, step=step)
        finally:
            self._train_mode()

    def _distil(self, lesson: Lesson, logits: Tensor) -> Tensor:
        """The distillation loss of a lesson, a scalar; `logits` are the learner's own on the same images."""
        teachers = [probs.to(self.device, non_blocking=True) for probs in lesson.teachers.values()]
        weights = self._weigh_teachers(list(lesson.teachers), torch.stack(teachers), logits.detach())
        self._remember(lesson.round, torch.stack(teachers), weights)
        return distil_heads(teachers, logits, self.config.distill, weights)

    def _remember(self, round: int, teachers: Tensor, weights: Tensor) -> None:
        """Keep the combined predictions of the teachers for the images of `round`, without the temperature."""
        if self._ends_as_discriminant:
            said = combine(AGREEMENT, teachers[:, 0], self.config.distill.temperature, weights)[0]
            self._said[self._public.numbers(round, self._rows).to(self.device)] = said

    def _weigh_teachers(self, ids: list[int], teachers: Tensor, logits: Tensor) -> Tensor:
        """Update the scores of a lesson's teachers; returns their weights, ``[teachers]``.

        The scores compare the heads that teach, the learner's own among them: all heads but the last, or the only one.
        This does not wait for the device.

        Args:
            ids: of the teachers.
            teachers: probabilities ``[teachers, heads, rows, classes]``.
            logits: the learner's own, ``[heads, rows, classes]``.
        """
        heads = max(1, len(logits) - 1)
        own = F.softmax(logits[:heads] / self.config.distill.temperature, dim=-1)
        found = trust.disagreements(teachers[:, :heads].flatten(1, 2), own.flatten(0, 1))
        self._scores = trust.updated(self._scores, ids, found)
        return trust.weights([self._scores[id] for id in ids])

    def _seed(self, *names: int | str) -> int:
        return derive(self.config.train.seed, "peer", self.id, *names)

    def _train_mode(self) -> None:
        train_mode(self.model, self._in_evaluation)

    @property
    def _joint(self) -> bool:
        """Whether the private images and those of a lesson go through the network as one batch."""
        return self.config.norm_from == "both" and not self._on_private

    @property
    def _on_private(self) -> bool:
        """Whether a lesson is about the private batch of the step, instead of a public batch."""
        return bool(self.config.simulation.on_private)

    def _answering(self, step: int) -> int:
        """The index of the head that answers at `step`: the last; in the first of two phases, head 0."""
        return 0 if step <= self.alone_until and self.alone_until else -1

    def _learning_rate(self) -> float:
        """The learning rate of this step. Each of two phases runs through the whole schedule."""
        config, start = self.config, 0 if self.is_alone else self.alone_until
        steps = self.alone_until if self.is_alone else config.steps - start
        return learning_rate(config.train.schedule, config.peak_lr, self.step - start, steps)

    def _begin_second_phase(self) -> None:
        self._frozen = self._copy()
        self.optimiser = make_optimiser(self.model, self.config)

    def _has_settable_head(self) -> bool:
        """Whether head 0 is linear with a bias, as a discriminant needs. If not, but it is wanted, this is logged."""
        settable = getattr(self.model.heads[0], "bias", None) is not None
        if not settable and "discriminant" in (self.config.head_start, self.config.head_end):
            name = spelt(self.config.model.for_client(self.id))
            log.info(
                "%s has no last layer that is linear and has a bias: its head begins and ends as in training", name
            )
        return settable

    def _copy(self) -> nn.Module:
        return copy.deepcopy(self.model).requires_grad_(False)

    def _uses_random_numbers(self, size: int) -> bool:
        """Whether a forward pass in training mode draws random numbers, as dropout does."""
        with seeded(0, self.device), torch.no_grad(), frozen_statistics(self.model):
            before = generator_state(self.device)
            self.model(torch.zeros(2, 3, size, size, device=self.device))
            return not torch.equal(before, generator_state(self.device))

    def _forward(self, model: Callable[[Tensor], Tensor], images: Tensor, *names: int | str) -> Tensor:
        """Compute logits ``[heads, batch, classes]``. If the network draws random numbers, `names` give their seed."""
        bfloat16 = self.config.precision == "bfloat16"
        draws = seeded(self._seed("forward", *names), self.device) if self._draws else nullcontext()
        with draws, torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            logits: Tensor = model(images)
        return logits.float()

    def _private_pass(self, images: Tensor) -> Pass:
        """A forward pass on private images. It moves copies of the running statistics of batch norm."""
        with copied_statistics(self.model) as statistics:
            return Pass(self._forward(self.model, normalise(images), "private", self.step), statistics)

    def _public_pass(self, round: int, model: nn.Module) -> Pass:
        """A forward pass on the public batch of `round`.

        It moves copies of the running statistics of batch norm if ``norm_from`` is public, and else no statistics.
        """
        apart = copied_statistics if self.config.norm_from == "public" else frozen_statistics
        with apart(model) as statistics:
            return Pass(self._forward(model, normalise(self._public_batch(round)), "public", round), statistics)

    def _joint_pass(self, private: Tensor, round: int) -> tuple[Pass, Pass]:
        """One forward pass on private images together with the public batch of `round`: one batch for batch norm."""
        images = normalise(torch.cat([private, self._public_batch(round)]))
        with copied_statistics(self.model) as statistics:
            logits = self._forward(self.model, images, "both", self.step)
        return Pass(logits[:, : len(private)], statistics), Pass(logits[:, len(private) :], statistics)

    def _public_batch(self, round: int) -> Tensor:
        return self._public.batch(round, self._rows).to(self.device, non_blocking=True)

    def _noise(self, round: int, shape: torch.Size) -> Tensor:
        """Standard normal noise, always the same for one round. Whoever knows the seed can compute it."""
        generator = torch.Generator().manual_seed(self._seed("noise", round))
        return torch.randn(shape, generator=generator)


def _part(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The entries of `state` under ``name.``, without this prefix."""
    return {key[len(name) + 1 :]: tensor for key, tensor in state.items() if key.startswith(f"{name}.")}

"""Checks whether this box can train with the settings: the device, the weights, and a step on random images."""

import dataclasses
import os
import time
from collections.abc import Callable

import torch

from edgekd.config import Config
from edgekd.data.datasets import PeerData
from edgekd.data.public import PublicSet, make_public
from edgekd.data.sources import SIZES, Labelled
from edgekd.doctor.check import Check, examine, examine_and_return
from edgekd.extensions import spelt
from edgekd.learning.devices import choose_device
from edgekd.learning.learner import Learner
from edgekd.learning.models import model_from_config
from edgekd.protocol.messages import Lesson

CLASSES = 10  # assumed number of classes if there is no public file
DRIVERS = (
    "/dev/nvidiactl",
    "/dev/nvhost-gpu",
    "/dev/nvgpu",
)  # device files of the driver for NVIDIA GPUs, also on a Jetson
UNUSED = (
    "there is an NVIDIA GPU, and this PyTorch cannot use it: install the build for its CUDA, or on a Jetson NVIDIA's"
)


def device(name: str, drivers: tuple[str, ...] = DRIVERS) -> Check:
    """Check ``--device``; warns if there is a GPU that is not used."""

    def look() -> str:
        found = choose_device(name)
        if found.type == "cuda":
            properties = torch.cuda.get_device_properties(found)
            return f"{torch.cuda.get_device_name(found)}, {properties.total_memory / 2**30:.1f} GiB"
        return found.type

    check = examine("device", look)
    idle = check.ok and name == "auto" and check.message == "cpu" and any(map(os.path.exists, drivers))
    return dataclasses.replace(check, ok=None, message=f"cpu; {UNUSED}") if idle else check


def weights(config: Config, id: int, public: PublicSet | None) -> Check:
    """Check the network and its initial weights; weights of ImageNet are downloaded if they are not on this box yet."""

    def look() -> str:
        data = made_up(config, public)
        size = data.private.images.shape[-1]
        model = model_from_config(config.model, id, weights=config.weights, classes=len(data.classes), size=size)
        count = sum(parameter.numel() for parameter in model.parameters())
        begins = {"none": "random weights", "imagenet": "ImageNet's weights"}.get(config.weights, config.weights)
        return f"{spelt(config.model.for_client(id))} with {begins}, {count / 1e6:.1f} million parameters"

    return examine("weights", look)


def step(
    config: Config, id: int, public: PublicSet | None, clock: Callable[[], float] = time.perf_counter
) -> tuple[Check, int | None]:
    """Check a training step with a lesson, and measure the time and memory that it takes.

    Args:
        config: all settings, with a device and weights that exist.
        id: the peer's id.
        public: the public set, for the number of classes and the size of images; None: the usual ones are taken.
        clock: a function that returns the time in seconds.

    Returns:
        The check, and the bytes of a checkpoint, or None after a fault.
    """

    def look() -> tuple[str, int]:
        torch.set_num_threads(config.threads)
        learner = Learner(made_up(config, public), config, id)
        _step(learner, id)  # the first step is slow: kernels are chosen, and memory is allocated
        began = clock()
        _step(learner, id)
        seconds = clock() - began
        what = f"a batch of {config.batch} private and {learner.teach(0).shape[1]} public images"
        total = f", {config.steps} steps {_duration(config.steps * seconds)}" if config.steps else ""
        state = sum(tensor.numel() * tensor.element_size() for tensor in learner.state().values())
        return f"{what} takes {seconds:.2f} s{total}{_device_memory(learner.device)}", state

    return examine_and_return("training step", look)


def without_weights(config: Config) -> Config:
    """The same settings with random weights, to try a step if the real weights are not available."""
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, weights="none"),
        train=dataclasses.replace(config.train, norm_from=None),
    )


def made_up(config: Config, public: PublicSet | None) -> PeerData:
    """Data of the right form, of random pixels: the images of a box are not needed to time a step."""
    kind = "folder" if config.data.private is not None else config.data.kind
    size = public.images.shape[-1] if public is not None else config.data.size or SIZES[kind]
    classes = public.classes if public is not None else tuple(f"class {number}" for number in range(CLASSES))
    rows = public.rows(config.public_batch) if public is not None else config.public_batch
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> torch.Tensor:
        return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)

    labels = torch.arange(config.batch) % len(classes)
    private = Labelled(images=images(config.batch), labels=labels)
    shared = make_public(images(rows), classes, config.data.public_augmentation if public is None else public.augment)
    return PeerData(classes=classes, private=private, public=shared, evaluation=private)


def _step(learner: Learner, id: int) -> None:
    """Do a whole step with one teacher, which has the same predictions as the learner."""
    teacher = learner.teach(0).exp()
    learner.study()
    learner.learn(Lesson(0, {id + 1: teacher}))
    if learner.device.type == "cuda":
        torch.cuda.synchronize(learner.device)


def _device_memory(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    return f", {torch.cuda.max_memory_reserved(device) / 2**30:.1f} GiB of the GPU's memory"


def _duration(seconds: float) -> str:
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"some {seconds / size:.0f} {unit}"
    return f"some {seconds:.0f} s"

"""A network as an ONNX file, from pixels to probabilities. The file needs neither edgekd nor PyTorch.

PyTorch has two exporters. This module uses the older one, which is based on TorchScript, for three reasons. It needs no
package except `onnx`. All versions of PyTorch since 2.2 have it. And it can write opset 17, the newest one that
TensorRT 8.5 on Jetsons with JetPack 5 can read; the newer exporter begins at opset 18.
"""

import inspect
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.data.augment import MEAN, STD
from edgekd.errors import ConfigError
from edgekd.extensions import without_exit
from edgekd.printable import first_line

OPSET = 17
TRACED = 2  # images in the example for the exporter; with one image, it would treat more values as constants
LARGEST = 2**31  # bytes; the limit of a protobuf file
PRINTS = "_jit_onnx_log"  # name in torch._C of the function that prints
INPUT, OUTPUTS = "images", ("probabilities", "logits")


class _FromPixels(nn.Module):
    """A network with a normalisation of pixels (one multiplication, one subtraction) before it and softmax after it."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        deviation = torch.tensor(STD, dtype=torch.float64).view(3, 1, 1)
        self.register_buffer("scale", (1 / (255 * deviation)).float())
        self.register_buffer("shift", (torch.tensor(MEAN, dtype=torch.float64).view(3, 1, 1) / deviation).float())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(images.float() * self.scale - self.shift)
        return torch.softmax(logits, dim=1), logits


def to_onnx(network: nn.Module, size: int) -> bytes:
    """The bytes of an ONNX file with a network in float32.

    The file's input is ``images``, uint8 ``[N, 3, size, size]``, RGB, for any N. Its outputs are ``probabilities`` and
    ``logits``, float32 ``[N, classes]``.

    Args:
        network: from normalised images to logits, on the CPU and in evaluation mode.
        size: height and width of the images, in pixels.

    Raises:
        ConfigError: the network cannot be written as ONNX, or does not fit into one file.
        OSError: there is no room for a temporary file.
    """
    content = sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))
    if content >= LARGEST:
        raise ConfigError(f"the network has {content / 2**30:.1f} GiB, and one ONNX file holds less than 2 GiB")
    example = torch.zeros(TRACED, 3, size, size, dtype=torch.uint8)
    # Versions of PyTorch that have only the older exporter do not have this argument.
    chosen: dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    axes = {name: {0: "N"} for name in (INPUT, *OUTPUTS)}
    try:
        with without_exit(), _quiet(), tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
            file = Path(folder) / "model.onnx"
            torch.onnx.export(
                _FromPixels(network).eval(),
                (example,),
                str(file),
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_axes=axes,
                opset_version=OPSET,
                **chosen,
            )
            return file.read_bytes()
    except OSError:
        raise
    except Exception as error:  # raised by the exporter, or by a network of the user
        raise ConfigError(f"PyTorch cannot write this network as ONNX: {first_line(error)}") from error


def with_metadata(model: bytes, metadata: Mapping[str, str]) -> bytes:
    """The same ONNX file with these entries, and no others, as its ``metadata_props``."""
    import onnx

    proto = onnx.load_model_from_string(model)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, dict(metadata))
    proto.producer_name, proto.producer_version = "edgekd", metadata.get("edgekd_version", "")
    proto.doc_string = f"edgekd: one of {len(json.loads(metadata['classes']))} classes for each picture"
    content: bytes = proto.SerializeToString()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """A block without the messages of the exporter: that there is another one, and what tracing cannot see.

    If the exporter refuses a network, PyTorch prints the graph from C++ on stdout, whatever `sys.stdout` is. The switch
    for this has no effect, since each export turns it on (in 2.14). So the function that prints is replaced.
    """
    log = logging.getLogger("torch.onnx")
    level, prints = log.level, getattr(torch._C, PRINTS, None)  # private: some versions of PyTorch may not have it
    log.setLevel(logging.ERROR)
    if prints is not None:
        setattr(torch._C, PRINTS, lambda *said: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        if prints is not None:
            setattr(torch._C, PRINTS, prints)

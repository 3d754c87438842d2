"""Smaller number formats in an ONNX file: int8 by static quantisation, and float16."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from edgekd.use.onnx_file import INPUT

CALIBRATION = 256  # largest number of public images; more of them hardly change the ranges of activations
_BATCH = 16
_QUANTISED = ["Conv", "MatMul", "Gemm", "Add", "MaxPool", "AveragePool", "GlobalAveragePool"]


def to_int8(model: bytes, images: Tensor) -> bytes:
    """Quantise an ONNX file: weights and activations of 8 bits, in the QDQ format of onnxruntime.

    Activations are unsigned. With signed ones, which TensorRT would need, onnxruntime 1.32 took 18 times as long as
    with float32 on an x86 processor. The first operations, which turn pixels into floats, and softmax are not
    quantised.

    Args:
        model: the bytes of the file in float32.
        images: images for finding the ranges of activations, uint8 ``[N, 3, S, S]``; the first `CALIBRATION` are used.

    Returns:
        The bytes of the quantised file.

    Raises:
        OSError: there is no room for temporary files.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder, _quiet():
        whole, prepared, reduced = (Path(folder) / name for name in ("whole", "prepared", "reduced"))
        whole.write_bytes(model)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            reduced,
            _Calibration(images[:CALIBRATION]),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=_QUANTISED,
        )
        return reduced.read_bytes()


def to_float16(model: bytes) -> bytes:
    """Convert an ONNX file to float16, except for softmax; input and outputs keep their types."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    with _quiet():
        proto = onnx.load_model_from_string(model)
        blocked = [*DEFAULT_OP_BLOCK_LIST, "Softmax"]
        content: bytes = convert_float_to_float16(proto, keep_io_types=True, op_block_list=blocked).SerializeToString()
    return content


class _Calibration:
    """Gives the images to onnxruntime batch by batch; onnxruntime calls these two methods."""

    def __init__(self, images: Tensor) -> None:
        self._images = images
        self.rewind()

    def rewind(self) -> None:
        self._batches: Iterator[Tensor] = iter(self._images.split(_BATCH))

    def get_next(self) -> "dict[str, np.ndarray[Any, Any]] | None":
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.numpy()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A block without the output, log messages and warnings of onnxruntime."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)

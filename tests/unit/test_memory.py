"""Which errors mean that a device's memory is full."""

import pytest
import torch

from peer.node.out_of_memory import is_out_of_memory

NVML = 'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/opt/pytorch/c10/cuda/CUDACachingAllocator.cpp":838'


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of"),
        RuntimeError(f"{NVML}, please report a bug to PyTorch."),  # a Jetson's
        RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
    ids=["cuda", "jetson", "mps", "cpu", "cublas", "c++", "python"],
)
def test_every_devices_words_for_a_full_memory_are_understood(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED INTERNAL ASSERT FAILED at conv.cpp"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_are_no_full_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)

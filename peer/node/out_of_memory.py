"""Recognises errors of a full memory. Each device has its own message for them."""

import torch

_SAYINGS = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory",  # the CPU's allocator
    "not enough memory",  # the same on Windows
    "bad_alloc",  # C++
    "could not create a memory object",  # oneDNN, when a limit on memory was reached
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that the memory of the box or of its device is full."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error)
    # On a Jetson the allocator asks NVML for the free memory, which NVML does not know there, and an assertion fails.
    jetson = "INTERNAL ASSERT FAILED" in text and ("NVML" in text or "CUDACachingAllocator" in text)
    return jetson or any(saying.lower() in text.lower() for saying in _SAYINGS)

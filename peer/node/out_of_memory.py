"""Whether an error means that the memory is full: each device says it in words of its own."""

import torch

_SAYINGS = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory",  # the CPU's allocator
    "not enough memory",  # the same on Windows
    "bad_alloc",  # C++
    "could not create a memory object",  # oneDNN, as it ran into a limit
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is one of a full memory."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error)
    # On a Jetson the allocator asks NVML how full the memory is, and trips over the answer.
    jetson = "INTERNAL ASSERT FAILED" in text and ("NVML" in text or "CUDACachingAllocator" in text)
    return jetson or any(saying.lower() in text.lower() for saying in _SAYINGS)

"""On a GPU, where one is there: the same seed gives the same weights, however many learners compute at once."""

import pytest
import torch

from edgekd.config import from_mapping
from edgekd.simulation.groups import simulate

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")


@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v3_small"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_simulation_is_reproducible(model: str, precision: str) -> None:
    config = from_mapping(
        {
            "data": {"data": "digits", "limit": 300},
            "model": {"model": model},
            "train": {"steps": 10, "batch": 16, "public_batch": 16, "device": "cuda", "precision": precision},
        }
    )
    first, again, side_by_side = (simulate(config, jobs=jobs) for jobs in (1, 1, 3))
    assert first == again
    assert first == side_by_side

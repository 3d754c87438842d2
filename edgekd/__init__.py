"""edgekd: edge boxes that teach one another to see, peer to peer.

The library: no sockets, no threads. The running process is the package `peer`; the command line is `edgekd.cli`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekd.config import (
        Config,
        DataConfig,
        DistillConfig,
        ExchangeConfig,
        ImageDataset,
        ModelConfig,
        SimulationConfig,
        TrainConfig,
    )
    from edgekd.data.splits import partition
    from edgekd.learning.learner import Learner
    from edgekd.losses.measures import MEASURES, dissimilarity
    from edgekd.simulation.groups import Simulated, simulate
    from edgekd.use.predictor import Predictor, load

    __version__: str

__all__ = [
    "MEASURES",
    "Config",
    "DataConfig",
    "DistillConfig",
    "ExchangeConfig",
    "ImageDataset",
    "Learner",
    "ModelConfig",
    "Predictor",
    "Simulated",
    "SimulationConfig",
    "TrainConfig",
    "__version__",
    "dissimilarity",
    "load",
    "partition",
    "simulate",
]

_HOMES = {
    "MEASURES": "losses.measures",
    "Config": "config",
    "DataConfig": "config",
    "DistillConfig": "config",
    "ExchangeConfig": "config",
    "ImageDataset": "config",
    "Learner": "learning.learner",
    "ModelConfig": "config",
    "Predictor": "use.predictor",
    "Simulated": "simulation.groups",
    "SimulationConfig": "config",
    "TrainConfig": "config",
    "dissimilarity": "losses.measures",
    "load": "use.predictor",
    "partition": "data.splits",
    "simulate": "simulation.groups",
}


if not TYPE_CHECKING:  # a type checker reports names that are not exported

    def __getattr__(name: str) -> object:
        # Imported when asked for: torch takes seconds, and `edgekd --help` must answer at once.
        import importlib

        if name == "__version__":
            from importlib.metadata import version

            return version("edgekd")
        if name not in _HOMES:
            raise AttributeError(f"module 'edgekd' has no attribute '{name}'")
        return getattr(importlib.import_module(f"edgekd.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""Every setting: sections (frozen dataclasses), tables (TOML and other nested mappings), presets."""

from edgekd.config.sections import (
    ACCESS,
    AUGMENTATIONS,
    LIVE,
    LYING,
    Config,
    DataConfig,
    DistillConfig,
    ExchangeConfig,
    ModelConfig,
    Outage,
    SimulationConfig,
    TrainConfig,
)
from edgekd.config.tables import SECTIONS, from_mapping, overlay, read_toml, setting_type, to_mapping

__all__ = [
    "ACCESS",
    "AUGMENTATIONS",
    "LIVE",
    "LYING",
    "SECTIONS",
    "Config",
    "DataConfig",
    "DistillConfig",
    "ExchangeConfig",
    "ModelConfig",
    "Outage",
    "SimulationConfig",
    "TrainConfig",
    "from_mapping",
    "overlay",
    "read_toml",
    "setting_type",
    "to_mapping",
]

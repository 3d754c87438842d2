"""All settings: sections (frozen dataclasses), tables (TOML and other nested mappings) and presets."""

from edgekd.config.exchange_settings import ACCESS, LYING, ExchangeConfig
from edgekd.config.fields import ImageDataset, Images, setting_type
from edgekd.config.sections import (
    AUGMENTATIONS,
    AUTO,
    COLLECTING,
    EACH,
    LIVE,
    PUBLIC_AUGMENTATION_OF_PICTURES,
    PUBLIC_AUGMENTATIONS,
    UNSWEPT,
    Config,
    DataConfig,
    DistillConfig,
    ModelConfig,
    TrainConfig,
)
from edgekd.config.tables import SECTIONS, TITLES, check_own_word, from_mapping, overlay, read_toml, to_mapping, usable
from edgekd.config.virtual import Outage, SimulationConfig
from edgekd.config.written_out import BEFORE, read_run, written_out

__all__ = [
    "ACCESS",
    "AUGMENTATIONS",
    "AUTO",
    "BEFORE",
    "COLLECTING",
    "EACH",
    "LIVE",
    "LYING",
    "PUBLIC_AUGMENTATIONS",
    "PUBLIC_AUGMENTATION_OF_PICTURES",
    "SECTIONS",
    "TITLES",
    "UNSWEPT",
    "Config",
    "DataConfig",
    "DistillConfig",
    "ExchangeConfig",
    "ImageDataset",
    "Images",
    "ModelConfig",
    "Outage",
    "SimulationConfig",
    "TrainConfig",
    "check_own_word",
    "from_mapping",
    "overlay",
    "read_run",
    "read_toml",
    "setting_type",
    "to_mapping",
    "usable",
    "written_out",
]

"""A setting as a field of a dataclass: its default, help and choices; and the checks that all sections share."""

import math
from dataclasses import field, fields
from typing import Any

from edgekd.errors import ConfigError

LARGEST = 2**31 - 1  # of whole numbers: more is a slip of the finger


def setting(default: Any, help: str, choices: tuple[str, ...] | None = None, *, endless: bool = False) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices, "endless": endless})


def require(holds: bool, rule: str, value: object) -> None:
    # Callers write conditions so that NaN fails them too.
    if not holds:
        raise ConfigError(f"{rule}, got {value}")


def check_fields(section: Any) -> None:
    for f in fields(section):
        choices, value = f.metadata["choices"], getattr(section, f.name)
        if choices and value is not None and value not in choices:
            raise ConfigError(f"{f.name} must be one of {', '.join(choices)}, got {value}")
        if isinstance(value, float) and not math.isfinite(value) and not f.metadata["endless"]:
            raise ConfigError(f"{f.name} must be finite, got {value}")
        if isinstance(value, int) and value > LARGEST:
            raise ConfigError(f"{f.name} must be at most {LARGEST}, got {value}")

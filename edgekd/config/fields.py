"""A setting as a field of a dataclass: its default, help and choices; and the checks that all sections share."""

import math
from collections.abc import Callable, Hashable
from dataclasses import Field, field, fields
from typing import Any, Protocol, TypeAlias

from edgekd.errors import ConfigError
from edgekd.names import with_nearest

LARGEST = 2**31 - 1  # of whole numbers; a larger one is a typing error


class ImageDataset(Protocol):
    """A data set of labelled images, such as a map-style ``torch.utils.data.Dataset``. Each item is (image, label).

    An image is a Pillow image; a tensor ``[3, height, width]`` or ``[1, height, width]``, uint8 or floats in [0, 1]; or
    an array, uint8 ``[height, width, 3]`` or ``[height, width]``. A label is a whole number >= 0. If the data set has
    an attribute `classes`, these are the names of the classes. Otherwise their names are their numbers. The same index
    must always give the same image, so leave random augmentation to edgekd.

    >>> squares = [(torch.full((3, 16, 16), i % 4 / 4), i % 4) for i in range(100)]  # a list is enough
    >>> Config.of(data=squares, clients=2, size=16, weights="none").data.kind
    'object'
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


Images: TypeAlias = str | ImageDataset  # the name of a data set or a folder, or a data set itself


def is_function(value: object) -> bool:
    """Whether `value` can be a setting that takes a function instead of its name."""
    return callable(value) and isinstance(value, Hashable)


def is_dataset(value: object) -> bool:
    """Whether `value` can be a setting that takes a data set instead of its name."""
    sized = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return sized and not isinstance(value, str | bytes | dict)


def setting(
    default: Any,
    help: str,
    choices: tuple[str, ...] | None = None,
    *,
    endless: bool = False,
    words: tuple[str, ...] = (),
    known: tuple[str, ...] = (),
    path: bool = False,
    group: str | None = None,
    takes: Callable[[object], bool] | None = None,
) -> Any:
    """Make a dataclass field for a setting, with everything that its flag needs.

    Args:
        default: the value if the user gives none.
        help: the help text of the flag.
        choices: all allowed values; None: any value of its type.
        endless: whether a number may be infinite.
        words: words that may be given instead of a number.
        known: named values, if other values are also allowed.
        path: whether the value is, or may be, a file or a folder.
        group: the title in ``--help`` that the flag stands under; None: the section's.
        takes: tells whether a Python program may set this object instead of a name; None: it may set no object.
    """
    metadata = {"help": help, "choices": choices, "endless": endless, "words": words, "takes": takes}
    return field(default=default, metadata={**metadata, "known": known, "path": path, "group": group})


def require(holds: bool, rule: str, value: object) -> None:
    # Callers write conditions so that NaN fails them too.
    if not holds:
        raise ConfigError(f"{rule}, got {value}")


def setting_type(f: "Field[Any]") -> type:
    """The type of a setting's value, without None and words: int for a field annotated ``int | None``."""
    name = str(f.type).replace("<class '", "").replace("'>", "").partition(" | ")[0]
    return {"int": int, "float": float, "str": str, "bool": bool}[name]


def check_type(f: "Field[Any]", value: Any, section: str = "") -> None:
    """Check that a value has the type of its setting; a whole number is allowed for a float.

    Args:
        f: the field of the setting.
        value: the value.
        section: the section in which it stands, for the message.

    Raises:
        ConfigError: it has another type.
    """
    kind, words, takes = setting_type(f), f.metadata["words"], f.metadata["takes"]
    if (isinstance(value, str) and value in words) or (takes is not None and takes(value)):
        return
    number = isinstance(value, int) and not isinstance(value, bool)
    if not (isinstance(value, kind) and (kind is not int or number)) and not (kind is float and number):
        where = f"[{section}] {f.name}" if section else f.name
        raise ConfigError(f"{where} must be {' or '.join((kind.__name__, *words))}, got {value!r}")


def check_fields(section: Any) -> None:
    for f in fields(section):
        choices, value = f.metadata["choices"], getattr(section, f.name)
        if value is not None or f.default is not None:
            check_type(f, value)
        if choices and value is not None and value not in choices:
            why = f"{f.name} must be one of {', '.join(choices)}, got {value}"
            raise ConfigError(with_nearest(why, value, choices))
        if isinstance(value, str) and "\0" in value:
            raise ConfigError(f"{f.name} must not hold the character NUL, got {value!r}")
        if isinstance(value, float) and not math.isfinite(value) and not f.metadata["endless"]:
            raise ConfigError(f"{f.name} must be finite, got {value}")
        if isinstance(value, int) and value > LARGEST:
            raise ConfigError(f"{f.name} must be at most {LARGEST}, got {value}")

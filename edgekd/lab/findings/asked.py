"""Which settings a report compares, and with which reference value: as the user asks, or the most useful ones."""

import contextlib
import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.config import SECTIONS
from edgekd.errors import ConfigError
from edgekd.extensions import is_extension, with_absolute_file
from edgekd.lab.findings.cells import key, measure_order, settings, varied_settings
from edgekd.lab.findings.choice import GIVEN, Question, places, question
from edgekd.lab.sweep.records import TOGETHER, Cell, Outcome
from edgekd.names import COMBINATION_NAMES, meant


@dataclass(frozen=True, slots=True)
class Choices:
    """The comparisons of a report."""

    questions: tuple[Question, ...]
    others: tuple[str, ...]  # other settings that could be compared


def choices(cells: Sequence[Outcome], against: Sequence[str] = ()) -> Choices:
    """Compare the values of some settings, separately for each place (data, split, neighbours and clock).

    Args:
        cells: finished cells, with or without liars, none of them a baseline.
        against: ``SETTING`` or ``SETTING=VALUE``, the settings to compare and their reference values. Without VALUE, or
            if no cell has it, the reference is the project's default, or the first value if no cell has the default. If
            `against` is empty, the measure is compared if it varies, otherwise each setting that a user can choose.

    Raises:
        ConfigError: a setting is unknown or cannot be compared, or no cell has the value.
    """
    able = comparable(cells)
    wished = dict(_wish(text, able, cells) for text in against) or dict.fromkeys(_most_useful(able))
    found: list[Question] = []
    for name, reference in wished.items():
        for group in places(cells, name):
            values = paired_values(group, name)
            if len(values) > 1:
                there = {settings(o.cell.config)[name] for o in group}
                wanted = reference is not None and reference[0] in there
                chosen = reference[0] if reference and wanted else _default(group, name, values)
                found.append(question(group, name, sorted(there, key=lambda v: value_order(name, v)), chosen))
    return Choices(tuple(found), tuple(name for name in able if name not in wished and name not in GIVEN))


def comparable(cells: Sequence[Outcome]) -> list[str]:
    """The settings for which two cells differ only in this setting."""
    return [name for name in varied_settings([o.cell.config for o in cells]) if paired_values(cells, name)]


def paired_values(cells: Iterable[Outcome], setting: str) -> list[Any]:
    """The values of a setting that occur in cells that differ only in this setting, in their usual order."""
    alike: dict[Any, set[Any]] = defaultdict(set)
    for outcome in cells:
        alike[key(outcome.cell.config, setting)].add(settings(outcome.cell.config)[setting])
    found = {value for values in alike.values() if len(values) > 1 for value in values}
    return sorted(found, key=lambda value: value_order(setting, value))


def value_text(value: Any) -> str:
    """A value as a report shows it; for a function in a file without the folder."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and is_extension(value):
        return Path(value).name
    return "none" if value is None else str(value)


def value_order(setting: str, value: Any) -> tuple[Any, ...]:
    """A sort key for values: None first, names in their usual order, the user's own names last, numbers by size."""
    if isinstance(value, str):
        known = list(COMBINATION_NAMES) if setting == "combine" else []
        place = known.index(value) if value in known else len(known)
        return (2, measure_order(value) if setting == "measure" else (place, value))
    return (0, 0) if value is None else (1, value)


def _most_useful(able: Sequence[str]) -> list[str]:
    to_choose = [name for name in able if name not in GIVEN]
    return ["measure"] if "measure" in able else to_choose or list(able)


def _wish(text: str, able: Sequence[str], cells: Sequence[Outcome]) -> tuple[str, tuple[Any] | None]:
    """Parse ``SETTING=VALUE`` into the setting and the reference; the reference is None if there is no VALUE."""
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    known = [f.name for kind in SECTIONS.values() for f in dataclasses.fields(kind)]
    if name not in known:
        hint = meant(name, known) or "name one as in a sweep's file, such as measure=kl"
        raise ConfigError(f"--against: there is no setting {name!r}; {hint}")
    if name not in able:
        there = f"in these alone some do: {', '.join(able)}" if able else "nor in any other setting"
        raise ConfigError(f"--against: no two cells of one seed differ in {name} alone; {there}")
    if not equals:
        return name, None
    values = paired_values(cells, name)
    fitting = [each for each in values if _means(value.strip(), each)]
    if not fitting:
        there = ", ".join(map(value_text, values))
        raise ConfigError(
            f"--against: no cell to compare with has {name} {value.strip() or '(nothing)'}; some have {there}"
        )
    return name, (fitting[0],)


def _means(text: str, value: Any) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    full = with_absolute_file(text) == with_absolute_file(str(value))
    return full or text.casefold() in (str(value).casefold(), value_text(value).casefold())


def _default(cells: Sequence[Outcome], setting: str, values: Sequence[Any]) -> Any:
    """The project's default, as it is in most of these cells, if it is one of the values; otherwise the first value."""
    found = Counter(default for default in _defaults(cells, setting) if default in values)
    return found.most_common(1)[0][0] if found else values[0]


def _defaults(cells: Iterable[Outcome], setting: str) -> Iterator[Any]:
    """The value that the setting has by default in each cell; cells that do not allow the default are skipped."""
    section = next(name for name, kind in SECTIONS.items() if setting in {f.name for f in dataclasses.fields(kind)})
    default = getattr(SECTIONS[section](), setting)
    for outcome in cells:
        config = outcome.cell.config
        with contextlib.suppress(ConfigError):
            plain = dataclasses.replace(getattr(config, section), **{setting: default})
            yield settings(Cell(TOGETHER, dataclasses.replace(config, **{section: plain})).config)[setting]

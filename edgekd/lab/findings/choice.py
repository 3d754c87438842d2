"""Which value of a setting to choose: every value is compared with a reference, paired by seed and all other settings.

Cells are compared within a place: the same data, split, neighbours and clock. Within a place and a seed, the
differences under all combinations of the other settings are averaged. As in every comparison here, the unit is the
seed.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from edgekd.config import Config, DataConfig, SimulationConfig
from edgekd.lab.findings.cells import Key, Value, mean_accuracy, settings
from edgekd.lab.findings.contrasts import Pairs, balanced, contrasts
from edgekd.lab.findings.stats import ACCURACY, MIN_SEEDS, Comparison, compare, holm, seed_means
from edgekd.lab.sweep.records import Outcome

BETTER, WORSE, AS_GOOD, DEPENDS, OPEN = "better", "worse", "as good", "depends", "open"

# Settings that are given, not chosen, and that define a place: the images and their split, the neighbours, the speeds.
PLACE = (
    *(f.name for f in fields(DataConfig) if f.name not in ("public_augment", "data_seed")),
    *(f.name for f in fields(SimulationConfig)),
    *("topology", "liars"),
)
GIVEN = (*PLACE, "data_seed", "lie", "lie_from", "seed", "device", "threads")  # also not chosen


@dataclass(frozen=True, slots=True)
class Answer:
    """One value compared with the reference, over pairs of cells that differ only in this setting."""

    value: Any
    found: Comparison  # difference of accuracies, value minus reference; n counts seeds
    single: tuple[tuple[Key, Comparison], ...]  # the same for each combination of the other settings
    accuracy: float  # mean of the value in these cells
    of_reference: float  # mean of the reference in these cells
    megabytes: float  # sent by a client with the value, in 10^6 bytes
    megabytes_of_reference: float
    p: float = math.nan  # after Holm's correction over all values of the question; NaN if there are too few seeds
    verdict: str = OPEN

    @property
    def least(self) -> float:
        """The smallest difference under one combination of the other settings; NaN if there is none."""
        return min((found.effect for _, found in self.single), default=math.nan)

    @property
    def most(self) -> float:
        """The largest difference under one combination of the other settings; NaN if there is none."""
        return max((found.effect for _, found in self.single), default=math.nan)


@dataclass(frozen=True, slots=True)
class Question:
    """Which value of a setting to choose in one place (data, split, neighbours, clock): question and answers."""

    setting: str
    config: Config  # of one of the cells, to describe the place
    reference: Any
    answers: tuple[Answer, ...]  # for all other values that occur


def places(cells: Iterable[Outcome], setting: str) -> list[list[Outcome]]:
    """Group the cells by place, that is by all given settings except this one."""
    names = [name for name in PLACE if name != setting]
    found: dict[Key, list[Outcome]] = defaultdict(list)
    for outcome in cells:
        of = settings(outcome.cell.config)
        found[tuple((name, of[name]) for name in names)].append(outcome)
    return [found[place] for place in sorted(found, key=str)]


def question(cells: Sequence[Outcome], setting: str, values: Sequence[Any], reference: Any) -> Question:
    """Compare the values of a setting with a reference value, in the cells of one place.

    Args:
        cells: finished cells with the same data, split, neighbours and clock.
        setting: the compared setting.
        values: its values, perhaps with the reference among them.
        reference: the value with which the others are compared.
    """
    answers = [_answer(cells, setting, value, reference) for value in values if value != reference]
    corrected = holm([answer.found.p for answer in answers])
    judged = [
        replace(answer, p=p, verdict=DEPENDS if _turns(answer) else verdict(answer.found, p))
        for answer, p in zip(answers, corrected, strict=True)
    ]
    return Question(setting, cells[0].cell.config, reference, tuple(judged))


def verdict(found: Comparison, p: float) -> str:
    """Decide on a comparison: better, worse, as good, or open.

    Whether the result depends on other settings is not decided here.

    Args:
        found: the difference in accuracy.
        p: its corrected p value.
    """
    margin = ACCURACY.margin
    if found.n < MIN_SEEDS:
        return OPEN
    if -margin < found.low and found.high < margin:
        return AS_GOOD
    if p < 0.05 and abs(found.effect) >= margin:
        return BETTER if found.effect > 0 else WORSE
    return OPEN


def _turns(answer: Answer) -> bool:
    """Whether the value is shown to be better under some combinations of the other settings and worse under others.

    Then a mean over both does not help to choose. The combinations are one family for Holm's correction.
    """
    corrected = holm([found.p for _, found in answer.single])
    shown = {verdict(found, p) for (_, found), p in zip(answer.single, corrected, strict=True)}
    return {BETTER, WORSE} <= shown


def _answer(cells: Sequence[Outcome], setting: str, value: Any, reference: Any) -> Answer:
    def of(measured: Value, counts: tuple[int, int]) -> Pairs:
        def formula(values: Mapping[Any, float]) -> float:
            return counts[0] * values[value] + counts[1] * values[reference]

        return balanced(contrasts(cells, setting, measured, formula))

    pairs = of(mean_accuracy, (1, -1))
    by_seed = seed_means(pairs)
    return Answer(
        value=value,
        found=compare([by_seed[seed] for seed in sorted(by_seed)]),
        single=tuple((kind, compare(list(pairs[kind].values()))) for kind in sorted(pairs, key=str)),
        accuracy=_mean(of(mean_accuracy, (1, 0))),
        of_reference=_mean(of(mean_accuracy, (0, 1))),
        megabytes=_mean(of(_megabytes, (1, 0))),
        megabytes_of_reference=_mean(of(_megabytes, (0, 1))),
    )


def _megabytes(outcome: Outcome) -> float:
    return statistics.fmean(peer.bytes_sent for peer in outcome.peers) / 1e6


def _mean(pairs: Pairs) -> float:
    values = sorted(value for by_seed in pairs.values() for value in by_seed.values())
    return statistics.fmean(values) if values else math.nan

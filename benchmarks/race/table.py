"""The table of the race, as Markdown: a line a system and setting, means over the seeds with their standard errors."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

from race.curves import Point, accuracy_at
from race.rows import CurvePoint, Row
from race.systems import SYSTEMS, lines_a_user_writes

HEAD = (
    "who",
    "accuracy",
    "worst node",
    "at edgekd's time",
    "MB a node",
    "seconds",
    "processor s a node",
    "RSS MB",
    "first step s",
    "s a step",
    "idle s",
    "steps",
    "lines",
)
Runs = dict[int, list[Row]]  # by seed


def markdown(rows: Sequence[Row], curve: Sequence[CurvePoint] = ()) -> str:
    """A table for each setting. A coordinator's box is told of below; the node with the fault is left out."""
    settings: dict[str, dict[str, Runs]] = {}
    for row in rows:
        settings.setdefault(row.setting, {}).setdefault(row.who, {}).setdefault(row.seed, []).append(row)
    return "\n".join(_table(setting, whos, curve) for setting, whos in settings.items())


def at_edgekds_time(run: Sequence[Row], edgekd: Sequence[Row], curve: Iterable[CurvePoint]) -> float | None:
    """The mean accuracy of the nodes of a run when edgekd's last node was done; None: a node had none by then."""
    if not edgekd or not run:
        return None
    end = max(row.seconds or 0.0 for row in edgekd)
    one, points = run[0], [*curve]
    found = []
    for row in run:
        own = [
            Point(point.seconds, point.step, point.accuracy)
            for point in points
            if (point.who, point.setting, point.seed, point.node) == (one.who, one.setting, one.seed, row.node)
        ]
        found.append(accuracy_at(own, end))
    known = [accuracy for accuracy in found if accuracy is not None]
    return statistics.fmean(known) if len(known) == len(found) else None


def mean_and_error(values: list[float]) -> tuple[float, float | None]:
    """The mean over seeds and its standard error; None: there is one seed."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return statistics.fmean(values), error


def _table(setting: str, whos: dict[str, Runs], curve: Sequence[CurvePoint]) -> str:
    seeds = sorted({seed for runs in whos.values() for seed in runs})
    lines = [f"### {setting}", "", f"Seeds {', '.join(map(str, seeds))}. Means over the seeds ± standard error.", ""]
    lines += ["| " + " | ".join(HEAD) + " |", "| --- " + "| ---: " * (len(HEAD) - 1) + "|"]
    remarks = []
    for who, runs in whos.items():
        nodes = {seed: [row for row in found if _counts(row)] for seed, found in runs.items()}
        nodes = {seed: found for seed, found in nodes.items() if found}
        if nodes:
            lines.append(f"| {' | '.join([who, *_cells(who, nodes, whos.get('edgekd', {}), curve)])} |")
        else:
            lines.append(f"| {who} | " + " | ".join("-" for _ in HEAD[1:]) + " |")
        remarks += [f"- {who}: {row.note}" for found in runs.values() for row in found if row.node == ""]
        remarks += _of_server(who, runs)
    return "\n".join([*lines, "", *remarks, ""] if remarks else [*lines, ""])


def _counts(row: Row) -> bool:
    """Whether a row is that of a node without the fault: neither a server's nor the victim's."""
    return row.node not in ("", "server") and "victim" not in row.notes


def _of_server(who: str, runs: Runs) -> list[str]:
    """What the coordinator's box needed, on average."""
    server = [row for found in runs.values() for row in found if row.node == "server"]
    if not server:
        return []
    size = statistics.fmean(row.bytes or 0 for row in server) / 1e6
    used = statistics.fmean(row.processor_seconds or 0 for row in server)
    memory = statistics.fmean(row.rss_mb or 0 for row in server)
    return [f"- {who}, the server's box besides: {size:.1f} MB, {used:.0f} processor s, RSS {memory:.0f} MB"]


def _cells(who: str, nodes: Runs, edgekd: Runs, curve: Sequence[CurvePoint]) -> list[str]:
    runs = list(nodes.values())

    def cell(value: Callable[[list[Row]], float | None], digits: int) -> str:
        found = [value(run) for run in runs]
        known = [each for each in found if each is not None]
        if not known:
            return "-"
        mean, error = mean_and_error(known)
        return f"{mean:.{digits}f}" + (f" ± {error:.{digits}f}" if error is not None else "")

    def mean(name: str, scale: float = 1.0) -> Callable[[list[Row]], float | None]:
        def value(run: list[Row]) -> float | None:
            known = [getattr(row, name) for row in run if getattr(row, name) is not None]
            return statistics.fmean(known) / scale if known else None

        return value

    def noted(name: str, choose: Callable[[list[float]], float]) -> Callable[[list[Row]], float | None]:
        def value(run: list[Row]) -> float | None:
            known = [row.notes[name] for row in run if name in row.notes]
            return choose(known) if known else None

        return value

    def worst(run: list[Row]) -> float | None:
        return min((row.accuracy for row in run if row.accuracy is not None), default=None)

    def then(run: list[Row]) -> float | None:
        return at_edgekds_time(run, [row for row in edgekd.get(run[0].seed, []) if _counts(row)], curve)

    def last(run: list[Row]) -> float | None:
        return max((row.seconds for row in run if row.seconds is not None), default=None)

    def step_seconds(run: list[Row]) -> float | None:
        known = [
            (row.seconds - row.notes["first_step"]) / max(1.0, row.notes["steps"])
            for row in run
            if row.seconds is not None and "first_step" in row.notes
        ]
        return statistics.fmean(known) if known else None

    def idle(run: list[Row]) -> float | None:
        return noted("idle_after", max)(run) if any("fault_at" in row.notes for row in run) else noted("idle", max)(run)

    return [
        cell(mean("accuracy"), 3),
        cell(worst, 3),
        cell(then, 3),
        cell(mean("bytes", 1e6), 1),
        cell(last, 0),
        cell(mean("processor_seconds"), 0),
        cell(mean("rss_mb"), 0),
        cell(noted("first_step", max), 1),
        cell(step_seconds, 3),
        cell(idle, 1),
        cell(noted("steps", min), 0),
        str(lines_a_user_writes(SYSTEMS[who])),
    ]

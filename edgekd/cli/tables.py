"""Prints the results of runs and simulations as tables and lines."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgekd.cli.columns import Column, fitted
from edgekd.cli.lines import stdout
from edgekd.files.summary import PeerSummary, Summary, standard_error, with_error
from edgekd.protocol.amounts import bytes_text


def accuracy_text(peer: PeerSummary | None) -> str:
    """A peer's accuracy with its standard error, such as ``0.944 ± 0.017``; "-" if there is no peer or accuracy."""
    return "-" if peer is None else with_error(peer.accuracy, peer.evaluation_samples)


def accuracy_on(accuracy: float | None, samples: int | None) -> str:
    """An accuracy and the number of images it was measured on, such as ``0.944 on 180``; "-" without accuracy."""
    if accuracy is None:
        return "-"
    return f"{accuracy:.3f}" if samples is None else f"{accuracy:.3f} on {samples}"


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    summary: Summary
    rank: int = 0  # as in `Column`


def peer_line(peer: PeerSummary) -> str:
    """A line about the results of one peer."""
    reached = f"accuracy {accuracy_text(peer)} on {peer.evaluation_samples} images"
    if peer.accuracy_is_older:
        reached += f" at step {peer.accuracy_step}"
    if peer.accuracy is None:
        reached = "stopped before its first evaluation"
    done = f"{peer.lessons} lessons in {peer.steps} steps, {bytes_text(peer.bytes_sent)} sent"
    return f"peer {peer.id}: {reached}, {done}"


def early_line(summary: Summary, wanted: int, folder: Path) -> str:
    """A line about a run that was stopped before each peer had done `wanted` steps; "" if each had."""
    done = [peer.steps for peer in summary.peers]
    if not done or min(done) >= wanted:
        return ""
    reached = str(min(done)) if min(done) == max(done) else f"{min(done)} to {max(done)}"
    return f"stopped early, after {reached} of {wanted} steps; {folder} holds what had been reached"


def print_results(summary: Summary) -> None:
    """Print the table of results and its explanations on stdout."""
    console = wide_console()
    console.print(results_table(summary, console))
    console.print(_caption(summary), highlight=False)


def wide_console() -> Console:
    """A console on stdout that is wide enough for any table if stdout is no terminal; see `plain_console`."""
    console = plain_console()
    return console if console.is_terminal else plain_console(width=1000)


def plain_console(*, width: int | None = None) -> Console:
    """A console on stdout that prints texts as they are: in texts of others, ``[red]`` and ``:smile:`` mean nothing."""
    return Console(file=stdout(), width=width, markup=False, emoji=False)


def results_table(summary: Summary, console: Console) -> Table:
    """Make the table of results: a row for each peer, then the mean and the standard deviation over the peers."""
    found = [_Column("accuracy alone", summary.baseline, 2)] if summary.baseline else []
    if summary.balanced:
        found.append(_Column("alone, balanced", summary.balanced, 3))
    found.append(_Column("accuracy together" if summary.baseline else "accuracy", summary))
    columns = [Column("peer", justify="left"), Column("private images", 4)]
    columns += [Column(column.title, column.rank) for column in found]
    columns += [*([Column("gain", 1)] if summary.baseline else []), Column("bytes sent", 5)]
    peers = []
    for peer in summary.peers:
        cells = [accuracy_text(_find(column.summary, peer.id)) for column in found]
        if summary.baseline:
            cells.append(_gain(peer, _find(summary.baseline, peer.id)))
        name = f"{peer.id}, a liar" if peer.liar else str(peer.id)
        peers.append([name, str(peer.private_samples), *cells, bytes_text(peer.bytes_sent)])
    overall = []
    for name in ("mean", "std"):
        values = [getattr(column.summary, f"{name}_accuracy") for column in found]
        cells = ["-" if value is None else f"{value:.3f}" for value in values]
        if summary.baseline:
            gains = [values[-1], values[0]]
            cells.append(f"{gains[0] - gains[1]:+.3f}" if name == "mean" and None not in gains else "")
        overall.append([{"mean": "mean", "std": "standard deviation"}[name], "", *cells, ""])
    return fitted(columns, [peers, overall], console)


def _find(summary: Summary, id: int) -> PeerSummary | None:
    return next((peer for peer in summary.peers if peer.id == id), None)


def _gain(peer: PeerSummary, alone: PeerSummary | None) -> str:
    if alone is None or alone.accuracy is None or peer.accuracy is None:
        return "-"
    return f"{peer.accuracy - alone.accuracy:+.3f}"


def _caption(summary: Summary) -> str:
    samples = max((peer.evaluation_samples for peer in summary.peers), default=0)
    lines = [f"± is the standard error of an accuracy on {samples} evaluation images."]
    if summary.older_accuracies:
        lines.append(summary.older_accuracies)
    if any(peer.liar for peer in summary.peers):
        lines.append("Mean and standard deviation are over the honest peers.")
    if summary.pooled is not None:
        error = standard_error(summary.pooled, samples)
        lines.append(
            f"Pooled (one model, all shards, what sharing the data would give): {summary.pooled:.3f} ± {error:.3f}."
        )
    if summary.gap_closed is not None:
        share = f"Share of the gap between alone and pooled that was closed: {summary.gap_closed:.0%}"
        against = summary.balanced and replace(summary, baseline=summary.balanced).gap_closed
        lines.append(f"{share} (between alone, balanced, and pooled: {against:.0%})." if against else f"{share}.")
    return "\n".join(lines)


def exchange_lines(peers: Sequence[PeerSummary]) -> list[str]:
    """Lines about the exchange in an asynchronous simulation: how much the peers received, and how late.

    Each line gives the least, the median and the largest value over the peers.
    """
    spreads = {
        "steps with a lesson": [peer.lessons / max(1, peer.steps) for peer in peers],
        "steps with a fresh one": [peer.fresh_lessons / max(1, peer.steps) for peer in peers],
        "teachers a lesson": [peer.teachers or 0.0 for peer in peers],
    }
    lines = [
        f"{name}: least {min(values):.2f}, median {statistics.median(values):.2f}, most {max(values):.2f}"
        for name, values in spreads.items()
    ]
    if ages := sorted(age for peer in peers for age in peer.ages or ()):
        lines.append(f"age of lessons in steps: median {ages[len(ages) // 2]}, most {ages[-1]}")
    return lines

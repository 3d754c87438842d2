"""The result files of ``edgekd run``: ``summary.json``, ``accuracy.png`` and ``report.html``."""

from collections.abc import Mapping
from pathlib import Path

from edgekd.cli.baselines import Baselines
from edgekd.config import Config
from edgekd.files.atomic import write_atomically
from edgekd.files.evaluation_file import Counted, read_counted
from edgekd.files.history import read_history
from edgekd.files.plots import plot_accuracy, read_curve
from edgekd.files.runs import data_name, write_summary
from edgekd.files.summary import Summary
from edgekd.lab.findings.cells import split_label
from edgekd.lab.report.run_page import TOGETHER, RunStory, run_page

PAGE = "report.html"


def write_results(folder: Path, summary: Summary, baselines: Baselines | None, config: Config) -> None:
    """Write all result files of a run, the summary first.

    Args:
        folder: of the run; it holds the folders of the peers.
        summary: of the peers that trained together.
        baselines: the results without exchange; None: they were not trained.
        config: of the run.

    Raises:
        OSError: a file cannot be written.
    """
    write_summary(folder, summary)
    metrics = {peer.id: folder / f"peer-{peer.id}" / "metrics.jsonl" for peer in summary.peers}
    together = {id: read_curve(file) for id, file in metrics.items()}
    curves = {TOGETHER: together, **(baselines.curves if baselines else {})}
    title = f"{data_name(config)}, {split_label(config)}, {config.data.clients} peers, seed {config.train.seed}"
    samples = max(peer.evaluation_samples for peer in summary.peers)
    plot_accuracy(folder / "accuracy.png", curves, summary.pooled, title=title, samples=samples)
    story = RunStory(
        title=title,
        summary=summary,
        curves=curves,
        counted=counted_by(folder, summary),
        alone=baselines.confusions if baselines else {},
        histories={id: read_history(file) for id, file in metrics.items()},
    )
    write_atomically(folder / PAGE, [run_page(story).encode(errors="backslashreplace")])


def counted_by(folder: Path, summary: Summary) -> Mapping[int, Counted]:
    """The last evaluation of each peer, from its ``evaluation.json``, by id; peers without one are left out."""
    found = {peer.id: read_counted(folder / f"peer-{peer.id}") for peer in summary.peers}
    return {id: counted for id, counted in found.items() if counted is not None}

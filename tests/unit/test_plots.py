"""The plot of a run."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from edgekd.files.plots import plot_accuracy

CURVE = [(0, 0.1), (100, 0.6), (200, 0.8)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    figures: list[Figure] = []
    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: figures.append(self) or savefig(self, *a, **k))
    return figures


def test_plot_has_all_baselines_a_title_and_bands_of_a_standard_error(tmp_path: Path, drawn: list[Figure]) -> None:
    curves = {name: {0: CURVE, 1: CURVE} for name in ("together", "alone, balanced", "alone")}
    plot_accuracy(tmp_path / "a.png", curves, 0.9, title="my $data, 2 peers", samples=100)
    (axes,) = drawn[0].axes
    assert axes.get_title() == "my $data, 2 peers"
    names = [f"peer {id} {name}" for name in curves for id in (0, 1)]
    assert axes.get_legend_handles_labels()[1] == [*names, "pooled data"]
    assert axes.get_ylabel() == "accuracy on 100 evaluation images, ± standard error"
    band = axes.collections[0].get_paths()[0].vertices
    assert max(band[:, 1]) == pytest.approx(0.8 + 0.04)  # sqrt(0.8 * 0.2 / 100)
    assert min(band[:, 1]) == pytest.approx(0.1 - 0.03)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_run_that_was_stopped_before_it_measured_anything_is_drawn_empty(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_accuracy(tmp_path / "a.png", {"together": {0: []}}, None, title="digits", samples=0)
    assert drawn[0].axes[0].get_title() == "digits"

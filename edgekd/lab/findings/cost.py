"""The cost of each measure: the file ``cost.csv``, which ``benchmarks/measures.py`` writes beside a sweep's results."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically

Ratios = dict[str, dict[str, Sequence[float]]]  # shape -> measure -> its time divided by KL's, for each block of passes
_COLUMNS = ["shape", "measure", "block", "ratio"]


def write_ratios(folder: Path, ratios: Ratios) -> None:
    """Write ``cost.csv`` into a folder.

    Raises:
        OSError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for shape, of in ratios.items():
        for measure, values in of.items():
            writer.writerows([shape, measure, block, f"{value:.4f}"] for block, value in enumerate(values))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "cost.csv", [text.getvalue().encode()])


def read_ratios(folders: Sequence[Path]) -> Ratios:
    """Read ``cost.csv`` from the first folder that contains it; empty if there is none.

    Raises:
        ConfigError: the file cannot be read, or lacks times.
    """
    path = next((folder / "cost.csv" for folder in folders if (folder / "cost.csv").is_file()), None)
    if path is None:
        return {}
    found: dict[str, dict[str, dict[int, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["shape"], {}).setdefault(row["measure"], {})[int(row["block"])] = float(
                    row["ratio"]
                )
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} is not what benchmarks/measures.py --out writes ({error}); run that anew") from error
    missing = [m for of in found.values() for m in ("ce", "kl", "js", "td", "sed") if m not in of]
    if missing or len({frozenset(values) for of in found.values() for values in of.values()}) > 1:
        raise ConfigError(f"{path} lacks times of some measures or blocks; run benchmarks/measures.py --out anew")
    return {
        shape: {measure: tuple(values[block] for block in sorted(values)) for measure, values in of.items()}
        for shape, of in found.items()
    }

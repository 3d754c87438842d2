"""What the pages show of Python does what they say."""

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "experiments.md"


def test_simulation_from_python_prints_the_accuracies_of_three_peers() -> None:
    (code,) = re.findall(r"### From Python\n.*?```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, str(PAGE), "exec"), {})
    mean, *accuracies = [float(number) for number in re.findall(r"[0-9.]+", said.getvalue())]
    assert len(accuracies) == 3
    assert abs(sum(accuracies) / 3 - mean) < 1e-6

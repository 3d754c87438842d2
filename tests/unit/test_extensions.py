"""Measures and combinations of one's own: found, tried out, refused with a reason."""

import importlib
import inspect
import math
import random
from pathlib import Path

import pytest
import torch

from edgekd.config import Config, DistillConfig, from_mapping, read_toml
from edgekd.errors import ConfigError
from edgekd.extensions import is_extension, load_function
from edgekd.files.runs import write_config
from edgekd.losses.combinations import combine
from edgekd.losses.measures import dissimilarity

OWN = """
import sys
import torch

def hellinger(q, z):
    p = torch.softmax(z, dim=-1).clamp_min(1e-30)
    return 1 - (p * q.clamp_min(1e-30)).sqrt().sum(dim=-1)

def scalar(q, z):
    return (z - q).square().mean()

def naive_kl(q, z):
    p = torch.softmax(z, dim=-1)
    return (q * (q / p).log()).sum(dim=-1)

def broken(q, z):
    return q @ z

number = 3

def leaves(q, z=None):
    sys.exit(0)

def surest_half(teachers):
    order = teachers.amax(dim=-1).mean(dim=-1).argsort(descending=True)
    return teachers[order[: (len(order) + 1) // 2]].mean(dim=0, keepdim=True)

def flat(teachers):
    return teachers.mean(dim=0)

def logits(teachers):
    return teachers.log()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working folder."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_own_measure_is_used_as_the_built_in_ones_are(own: str) -> None:
    q, z = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.0, 0.0]])
    expected = 1 - math.sqrt(0.1) - math.sqrt(0.4)
    assert dissimilarity(f"{own}:hellinger", q, z).item() == pytest.approx(expected, rel=1e-6)
    assert dissimilarity(f"{own}:hellinger", q, 2 * z, 2.0).item() == pytest.approx(expected, rel=1e-6)


def test_function_may_be_named_by_its_file_from_any_folder(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, z = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.0, 0.0]])
    expected = 1 - math.sqrt(0.1) - math.sqrt(0.4)
    config = Config(distill=DistillConfig(measure=f"./{own}.py:hellinger", combine=f"{own}.py:surest_half"))
    write_config(tmp_path, config)
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", str(tmp_path))
    written = from_mapping(read_toml(tmp_path / "config.toml")).distill
    for name in (written.measure, f"{tmp_path}/{own}.py:hellinger", f"~/{own}.py:hellinger"):
        assert dissimilarity(name, q, z).item() == pytest.approx(expected, rel=1e-6)
    teachers = torch.tensor([[[0.5, 0.5]], [[0.1, 0.9]]])
    assert torch.equal(combine(written.combine, teachers), teachers[1:])


def test_file_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match=r"cannot load ./nowhere.py:f: FileNotFoundError: .*nowhere.py"):
        dissimilarity("./nowhere.py:f", torch.ones(1, 2) / 2, torch.zeros(1, 2))


def test_file_that_ends_the_process_as_it_is_imported_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("raise SystemExit\n")
    with pytest.raises(ConfigError, match=r"cannot load .*leaves\.py:f: RuntimeError: it calls sys\.exit\(\)"):
        load_function(f"{tmp_path}/leaves.py:f")


def test_file_may_hold_a_dataclass_with_annotations_as_text_and_have_the_name_of_any_module(tmp_path: Path) -> None:
    """dataclasses looks for the module of such a class in `sys.modules`."""
    (tmp_path / "random.py").write_text(DATACLASS)
    assert load_function(f"{tmp_path}/random.py:width")() == 8
    assert importlib.import_module("random") is random
    assert random.random() < 1


DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Settings:
    width: int = 8

def width():
    return Settings().width
"""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("scalar", r"must give one value a sample: it makes \[\] of \[batch, classes\] = \[4, 3\]"),
        ("naive_kl", r"must be finite: its value for teacher \[1\.0, 0\.0, 0\.0\] and logits"),
        ("broken", "must give one value a sample: mat1 and mat2 shapes"),
        ("number", "must be a function, got 3"),
        ("missing", "AttributeError"),
        ("leaves", r"must give one value a sample: it calls sys\.exit\(0\)"),
    ],
)
def test_own_measure_that_breaks_a_rule_is_refused(own: str, function: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        dissimilarity(f"{own}:{function}", torch.tensor([[0.2, 0.8]]), torch.tensor([[0.0, 0.0]]))


def test_own_combination_makes_the_targets(own: str) -> None:
    teachers = torch.tensor([[[0.5, 0.5]], [[0.1, 0.9]]])
    torch.testing.assert_close(combine(f"{own}:surest_half", teachers), teachers[1:])


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("flat", r"must make \[targets, batch, classes\]"),
        ("logits", "must return probabilities"),
        ("broken", "failed on"),
        ("leaves", r"failed on a trial: RuntimeError: it calls sys\.exit\(0\)"),
    ],
)
def test_own_combination_that_breaks_a_rule_is_refused(own: str, function: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        combine(f"{own}:{function}", torch.full((2, 1, 2), 0.5))


def test_only_a_module_and_a_function_is_an_extension() -> None:
    assert is_extension("package.module:function")
    assert not any(is_extension(name) for name in ("kl", "a:", ":b", "a:b:c", "a.:b", "1a:b", "folder:/x", "a b:c"))


def test_example_in_the_docs_is_a_measure_and_a_combination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text(encoding="utf-8")
    code = text.partition("<!-- own-measure:begin -->\n```python\n")[2].partition("```\n<!-- own-measure:end -->")[0]
    (tmp_path / "mymeasures.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    q, z = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.0, 0.0]])
    expected = 1 - math.sqrt(0.1) - math.sqrt(0.4)
    assert dissimilarity("mymeasures:hellinger", q, z).item() == pytest.approx(expected, rel=1e-5)
    assert combine("mymeasures:surest_half", torch.tensor([[[0.5, 0.5]], [[0.1, 0.9]]])).tolist()[0][0][1] > 0.89


def test_function_of_the_user_keeps_its_name_and_signature(own: str) -> None:
    function = load_function(f"{own}:hellinger")
    assert function.__name__ == "hellinger"
    assert [*inspect.signature(function).parameters] == ["q", "z"]

"""The curves for TensorBoard are what ``metrics.jsonl`` says, whatever happens to the processes and to the disk."""

import contextlib
import itertools
import tempfile
from pathlib import Path

import pytest
import torch
from disks import small_disk
from event_curves import curves, written
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.learning.evaluation import Accuracy
from edgekd.learning.learner import Losses
from edgekd.protocol.messages import Lesson
from peer.node.progress import step_record
from peer.node.recorder import Recorder

pytest.importorskip("tensorboard", reason="needs edgekd[tensorboard]")

LESSON = Lesson(4, {1: torch.zeros(1), 3: torch.zeros(1)}, fresh=False, age=2)
ACCURACY = Accuracy(step=1, overall=0.5, own=0.25, heads=(0.5, 0.375), samples=180, confusion=())


def begun(folder: Path, resumes: int | None = None) -> Recorder:
    """A recorder of a process that goes on after the checkpoint of step `resumes`; None: a first one."""
    recorder = Recorder(folder, tensorboard=True)
    if resumes is not None:
        recorder.resume(resumes)
    recorder.begin()
    return recorder


def record(
    recorder: Recorder, step: int, *, labels: float = 1.5, lesson: Lesson | None = None, evaluated: bool = False
) -> None:
    losses = Losses(torch.tensor(labels), torch.tensor(0.5) if lesson else None)
    recorder.record(step_record(step, step - 1, lesson, ACCURACY if evaluated else None, 398), losses)


def test_every_number_of_a_step_is_on_its_curve(tmp_path: Path) -> None:
    recorder = begun(tmp_path)
    record(recorder, 1)
    record(recorder, 2, lesson=LESSON, evaluated=True)
    recorder.flush()
    assert curves(tmp_path) == {
        "loss/labels": [(1, 1.5), (2, 1.5)],
        "loss/distil": [(2, 0.5)],
        "lesson/teachers": [(1, 0), (2, 2)],
        "lesson/round": [(2, 4)],
        "lesson/age": [(2, 2)],
        "lesson/fresh": [(1, 0), (2, 0)],
        "accuracy/overall": [(2, 0.5)],
        "accuracy/own": [(2, 0.25)],
        "accuracy/head-0": [(2, 0.5)],
        "accuracy/head-1": [(2, 0.375)],
        "accuracy/images": [(2, 180)],
        "peer/round": [(1, 0), (2, 1)],
        "peer/private_images": [(1, 398), (2, 398)],
    }


@given(data=st.data(), processes=st.integers(1, 4))
@settings(deadline=None, max_examples=25)
def test_curves_are_what_the_metrics_say_however_often_a_peer_is_killed_and_resumed(
    data: st.DataObject, processes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done, value = 0, itertools.count()
        for process in range(processes):
            first = data.draw(st.integers(0, done), "checkpoint") if process else 0
            recorder = begun(Path(folder), first if process else None)
            done = first + data.draw(st.integers(0, 25), "steps")
            for step in range(first + 1, done + 1):
                lesson = LESSON if data.draw(st.booleans()) else None
                record(recorder, step, labels=next(value), lesson=lesson, evaluated=step % 3 == 0)
            if data.draw(st.booleans(), "ends in peace"):
                recorder.flush()
            elif events := sorted(Path(folder).glob("events.*")):  # a power cut leaves a part of a record
                with events[-1].open("ab") as file:
                    file.write(data.draw(st.binary(max_size=30)))
        begun(Path(folder), done)
        assert curves(Path(folder)) == written(Path(folder) / "metrics.jsonl")


def test_a_loss_that_is_no_number_has_no_point(tmp_path: Path) -> None:
    recorder = begun(tmp_path)
    record(recorder, 1, labels=float("nan"))
    recorder.flush()
    assert "loss/labels" not in curves(tmp_path)
    assert recorder.diverged


def test_without_the_setting_there_is_no_event_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.begin()
    record(recorder, 1)
    recorder.flush()
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_full_disk_leaves_whole_steps_and_the_curves_go_on_afterwards(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        recorder = begun(disk)
        steps = itertools.count(1)
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        while "tensorboard" not in recorder.failing:
            record(recorder, next(steps))
        assert recorder.failing["tensorboard"] == "No space left on device"
        filler.unlink()
        while "tensorboard" in recorder.failing or "metrics" in recorder.failing:
            record(recorder, next(steps))
        recorder.flush()
        found, told = curves(disk), written(disk / "metrics.jsonl")
        assert recorder.failing == {}
        assert found["loss/labels"]
        assert found["loss/labels"][-1] == told["loss/labels"][-1]

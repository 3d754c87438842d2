"""A peer's folder: metrics, the counts of the last evaluation, checkpoints, what is held out, and a summary.

A full disk ends no training.
"""

import contextlib
import errno
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from edgekd.data.held_out import HeldOut
from edgekd.errors import ConfigError
from edgekd.files.atomic import clear_leftovers, write_atomically
from edgekd.files.checkpoint import CheckpointInfo, link_current, save_best, save_checkpoint
from edgekd.files.evaluation_file import Counted, write_counted
from edgekd.files.folders import CURRENT, checkpoints
from edgekd.files.runs import write_summary
from edgekd.files.summary import PeerSummary, Summary
from edgekd.learning.divergence import check_finite
from edgekd.learning.learner import Losses
from peer.network.news import News

log = logging.getLogger("edgekd")

Written = TypeVar("Written")

FILES = ("metrics", "evaluation", "held-out", "checkpoint", "best", "current", "summary")  # that may fail to be written
FLUSH_EVERY = 10  # records between writes of metrics.jsonl
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # of file systems without symbolic links: FAT


def check_unused(folder: Path) -> None:
    """See to it that no earlier run's results are mixed with a new one's.

    Raises:
        ConfigError: the folder holds some.
    """
    if checkpoints(folder) or any((folder / name).exists() for name in ("summary.json", "metrics.jsonl")):
        raise ConfigError(f"{folder} holds an earlier run: go on from it with --resume, or choose another --out")


class Recorder:
    """Writes into `folder`, which exists; nothing before `begin`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._metrics = folder / "metrics.jsonl"
        self._records: list[tuple[dict[str, Any], Losses]] = []
        self._saved = -1  # the step of the last checkpoint
        self._resumed = False
        self._news = News()
        self._linkless = False  # whether the file system has no symbolic links
        self.diverged = False  # whether a loss that was written is NaN or infinite
        self.failing: dict[str, str] = {}  # of `FILES`: why it could not be written last time

    @property
    def saved(self) -> int | None:
        """The step of the newest checkpoint; None: there is none."""
        return self._saved if self._saved >= 0 else None

    @property
    def unwritten(self) -> str:
        """Why the last checkpoint, the best one or the summary could not be written; "" if they were."""
        return next((self.failing[what] for what in ("checkpoint", "best", "summary") if what in self.failing), "")

    def resume(self, step: int | None) -> None:
        """Go on after the checkpoint of `step`; None: there is none."""
        self._saved, self._resumed = -1 if step is None else step, True

    def begin(self) -> None:
        """Tidy up what an earlier process left, once nothing keeps this one from going on.

        Metrics of steps after the checkpoint, which come again, go, and files that were not written to their end.
        """
        clear_leftovers(self._folder)
        if self._resumed and self._metrics.is_file():
            self._try("metrics", lambda: _keep_up_to(max(0, self._saved), self._metrics))

    def record(self, record: dict[str, Any], losses: Losses) -> None:
        """Note one step; written some steps later, since reading a loss waits for the device."""
        self._records.append((record, losses))
        if len(self._records) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what is noted."""
        records, self._records = self._records, []
        numbers = [losses.numbers() for _, losses in records]
        self.diverged |= any(each["labels"] is None for each in numbers)
        lines = [json.dumps({**record, **each}) + "\n" for (record, _), each in zip(records, numbers, strict=True)]
        self._try("metrics", lambda: self._append(lines))

    def count(self, counted: Counted) -> None:
        """Write ``evaluation.json``."""
        self._try("evaluation", lambda: write_counted(self._folder, counted))

    def hold_out(self, held: HeldOut) -> bool:
        """Write ``held-out.json``; whether it could be written."""
        self._try("held-out", lambda: held.save(self._folder))
        return "held-out" not in self.failing

    def save(self, info: CheckpointInfo, state: dict[str, Tensor]) -> None:
        """Write a checkpoint, unless there is one of this step.

        Raises:
            DivergedError: there is NaN among the weights.
        """
        if self._saved == info.step:
            return
        check_finite(state.values(), info.id, info.step)
        path = self._try("checkpoint", lambda: save_checkpoint(self._folder, info, state))
        if path is not None:
            self._saved = info.step
            self._try("current", lambda: self._link(path))

    def save_best(self, info: CheckpointInfo, state: dict[str, Tensor]) -> bool:
        """Write the checkpoint of the best evaluation; whether it could be.

        Raises:
            DivergedError: there is NaN among the weights.
        """
        check_finite(state.values(), info.id, info.step)
        return self._try("best", lambda: save_best(self._folder, info, state)) is not None

    def summarise(self, peer: PeerSummary, seconds: float) -> None:
        """Write ``summary.json``."""
        self._try("summary", lambda: write_summary(self._folder, Summary(peers=(peer,), seconds=seconds)))

    def _link(self, checkpoint: Path) -> None:
        """Let ``current`` lead to `checkpoint`, where there are links."""
        try:
            link_current(checkpoint)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if not self._linkless:
                why = "its file system has no symbolic links"
                log.warning(
                    "%s gets no link %s to the newest checkpoint: %s; training goes on", self._folder, CURRENT, why
                )
            self._linkless = True

    def _append(self, lines: list[str]) -> None:
        """All of the lines, or none: what comes later must not be glued to half a line."""
        size = self._metrics.stat().st_size if self._metrics.exists() else 0
        try:
            with self._metrics.open("a", encoding="utf-8") as file:
                file.writelines(lines)
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self._metrics, size)
            raise

    def _try(self, what: str, write: Callable[[], Written]) -> Written | None:
        """What `write` returns; None if it could not: then a warning says why, and says it again rarely."""
        try:
            written = write()
        except OSError as error:
            why = error.strerror or str(error)
            self.failing[what] = why
            message = f"cannot write to {self._folder}: {why}; training goes on"
            self._news.say("folder", logging.WARNING, message, time.monotonic())
            return None
        self.failing.pop(what, None)
        return written


def _keep_up_to(step: int, path: Path) -> None:
    """Drop lines of later steps, which come again, and those that a power cut has garbled; a file may be long."""
    position = end = 0
    garbled = False
    with path.open("rb") as file:
        for line in file:
            if _is_of_step_up_to(step, line):
                garbled |= position > end
                end = position + len(line)
            position += len(line)
    if garbled:
        with path.open("rb") as file:
            write_atomically(path, (line for line in file if _is_of_step_up_to(step, line)))
    elif position > end:
        os.truncate(path, end)


def _is_of_step_up_to(step: int, line: bytes) -> bool:
    """Whether a line of metrics is whole (a power cut leaves others) and not of a step that comes again."""
    try:
        return line.endswith(b"\n") and int(json.loads(line)["step"]) <= step
    except (ValueError, KeyError, TypeError):
        return False

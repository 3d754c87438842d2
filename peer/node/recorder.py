"""Writes a peer's folder: metrics and curves, the last evaluation, checkpoints, the held-out pictures, the summary.

If the disk is full, a warning is logged and the training goes on.
"""

import errno
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from edgekd.data.held_out import HeldOut
from edgekd.errors import ConfigError
from edgekd.files.atomic import append_whole, clear_leftovers, write_atomically
from edgekd.files.checkpoint import CheckpointInfo, link_current, save_best, save_checkpoint, set_aside_unread
from edgekd.files.evaluation_file import Counted, write_counted
from edgekd.files.folders import CURRENT, checkpoints
from edgekd.files.runs import write_summary
from edgekd.files.summary import PeerSummary, Summary
from edgekd.learning.divergence import check_finite
from edgekd.learning.learner import Losses
from peer.network.news import News

if TYPE_CHECKING:
    from peer.node.event_file import EventFile

log = logging.getLogger("edgekd")

Written = TypeVar("Written")

# The files whose errors are reported by these names.
FILES = ("metrics", "tensorboard", "evaluation", "held-out", "checkpoint", "best", "current", "summary")
FLUSH_EVERY = 10  # records between writes of metrics.jsonl, and of the event file
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # errors where links are unknown, as on FAT


def check_unused(folder: Path) -> None:
    """Check that the folder holds no results of an earlier run, which would be mixed with new ones.

    Raises:
        ConfigError: it does.
    """
    if checkpoints(folder) or any((folder / name).exists() for name in ("summary.json", "metrics.jsonl")):
        raise ConfigError(f"{folder} holds an earlier run: go on from it with --resume, or choose another --out")


class Recorder:
    """Writes the files of a peer's folder. Nothing is written before `begin`.

    Args:
        folder: an existing folder.
        tensorboard: write an event file, too; it needs the package `tensorboard`.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        self._folder, self._tensorboard = folder, tensorboard
        self._metrics = folder / "metrics.jsonl"
        self._events: EventFile | None = None
        self._records: list[tuple[float, dict[str, Any], Losses]] = []  # with the time of each
        self._saved = -1  # the step of the last checkpoint
        self._resumed = False
        self._news = News()
        self._linkless = False  # whether the file system has no symbolic links
        self.diverged = False  # whether a loss that was written is NaN or infinite
        self.failing: dict[str, str] = {}  # by a name of `FILES`: why the last try to write it failed

    @property
    def saved(self) -> int | None:
        """The step of the newest checkpoint; None: there is none."""
        return self._saved if self._saved >= 0 else None

    @property
    def unwritten(self) -> str:
        """Why the last checkpoint, the best one or the summary could not be written; "" if they were."""
        return next((self.failing[what] for what in ("checkpoint", "best", "summary") if what in self.failing), "")

    def resume(self, step: int | None) -> None:
        """Prepare to continue after the checkpoint of `step`; None: there is none."""
        self._saved, self._resumed = -1 if step is None else step, True

    def begin(self) -> None:
        """Clean up the folder after an earlier process. Call it once this peer can start.

        Incomplete files are removed, and so are metrics of steps after the checkpoint, since these steps come again.
        Checkpoints that could not be read are renamed.
        """
        clear_leftovers(self._folder)
        if self._resumed:
            self._try("checkpoint", lambda: set_aside_unread(self._folder, self._saved))
        if self._resumed and self._metrics.is_file():
            self._try("metrics", lambda: _keep_up_to(max(0, self._saved), self._metrics))
        if self._tensorboard:
            from peer.node.event_file import EventFile

            self._events = EventFile(self._folder, max(0, self._saved) + 1, time.time())
            self._append_events([])  # writes the start, so that repeated steps in earlier files are not shown

    def record(self, record: dict[str, Any], losses: Losses) -> None:
        """Add the record of one step. It is written some steps later, since reading a loss waits for the device."""
        self._records.append((time.time(), record, losses))
        if len(self._records) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write all records that were added."""
        records = [(at, {**record, **losses.numbers()}) for at, record, losses in self._records]
        self._records = []
        self.diverged |= any(each["labels"] is None for _, each in records)
        lines = "".join(json.dumps(each) + "\n" for _, each in records)
        self._try("metrics", lambda: append_whole(self._metrics, lines.encode()))
        self._append_events(records)

    def _append_events(self, records: list[tuple[float, dict[str, Any]]]) -> None:
        if (events := self._events) is not None:
            self._try("tensorboard", lambda: events.append(records))

    def count(self, counted: Counted) -> None:
        """Write ``evaluation.json``."""
        self._try("evaluation", lambda: write_counted(self._folder, counted))

    def hold_out(self, held: HeldOut) -> bool:
        """Write ``held-out.json``; return whether that succeeded."""
        self._try("held-out", lambda: held.save(self._folder))
        return "held-out" not in self.failing

    def save(self, info: CheckpointInfo, state: dict[str, Tensor]) -> None:
        """Write a checkpoint and link ``current`` to it, unless there is one of this step.

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
        """Write the checkpoint of the best evaluation; return whether that succeeded.

        Raises:
            DivergedError: there is NaN among the weights.
        """
        check_finite(state.values(), info.id, info.step)
        return self._try("best", lambda: save_best(self._folder, info, state)) is not None

    def summarise(self, peer: PeerSummary, seconds: float) -> None:
        """Write ``summary.json``."""
        self._try("summary", lambda: write_summary(self._folder, Summary(peers=(peer,), seconds=seconds)))

    def _link(self, checkpoint: Path) -> None:
        """Link ``current`` to `checkpoint`, if the file system has symbolic links."""
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

    def _try(self, what: str, write: Callable[[], Written]) -> Written | None:
        """Call `write` and return its result; after an OSError log a rate-limited warning and return None."""
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
    """Remove lines of later steps, which come again, and lines that a power cut has damaged.

    The file is read line by line, since it may be long.
    """
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
    """Whether a line of metrics is complete (a power cut may cut it) and of a step up to `step`."""
    try:
        return line.endswith(b"\n") and int(json.loads(line)["step"]) <= step
    except (ValueError, KeyError, TypeError):
        return False

"""A peer's curves for TensorBoard: an event file beside ``metrics.jsonl``, with what that says of each step.

TensorBoard's own writers and PyTorch's write in a thread, and a failure ends them for good. Here a step's record is
written when its line in ``metrics.jsonl`` is, and after a full disk the file goes on.
"""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from edgekd.files.atomic import append_whole

PREFIX = "events.out.tfevents."  # TensorBoard looks for the last word, and reads the files in the order of their names
VERSION = "brain.Event:2"  # with it TensorBoard heeds where a process began


class EventFile:
    """The event file of one process; earlier processes' files stay.

    Nothing is written before the first `append`.

    Args:
        folder: where the file will lie; it exists.
        next_step: the first that this process does. What earlier files say of it and of later steps is void.
        began: when the process began, in seconds since 1970.
    """

    def __init__(self, folder: Path, next_step: int, began: float) -> None:
        numbers = [each.name.removeprefix(PREFIX) for each in folder.glob(f"{PREFIX}*")]
        number = max((int(each) for each in numbers if each.isdecimal()), default=0) + 1
        self._path = folder / f"{PREFIX}{number:010}"  # a number and not the time, which some boxes do not know
        start = SessionLog(status=SessionLog.START)
        self._head = [
            Event(wall_time=began, file_version=VERSION),
            Event(wall_time=began, step=next_step, session_log=start),
        ]  # what is to be written before the first step

    def append(self, records: Iterable[tuple[float, Mapping[str, Any]]]) -> None:
        """Append steps, each with the time at which it was done, in seconds since 1970, and its record.

        Raises:
            OSError: the file cannot be written; nothing of these steps is in it then.
        """
        packed = io.BytesIO()
        writer = RecordWriter(packed)
        for event in [*self._head, *(_event(time, record) for time, record in records)]:
            writer.write(event.SerializeToString())
        append_whole(self._path, packed.getvalue())
        self._head = []


def _event(time: float, record: Mapping[str, Any]) -> Any:
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(record).items()]
    return Event(wall_time=time, step=record["step"], summary=Summary(value=values))


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The curves' values at one step, by their names in TensorBoard.

    Args:
        record: a line of ``metrics.jsonl``. What it does not know, or that is None, has no value.
    """
    heads = record.get("head_accuracies") or ()
    values = {
        "accuracy/overall": record.get("accuracy"),
        "accuracy/own": record.get("own_accuracy"),
        **{f"accuracy/head-{number}": value for number, value in enumerate(heads) if len(heads) > 1},
        "accuracy/images": record.get("evaluation_samples"),
        "loss/labels": record["labels"],
        "loss/distil": record["distil"],
        "lesson/teachers": len(record["teachers"]),
        "lesson/round": record["lesson"],
        "lesson/age": record["age"],
        "lesson/fresh": record["fresh"],
        "peer/round": record["round"],
        "peer/private_images": record["private_samples"],
    }
    return {name: float(value) for name, value in values.items() if value is not None}

"""A peer's curves for TensorBoard: an event file beside ``metrics.jsonl``, with the same numbers of each step.

The writers of TensorBoard and of PyTorch write in a thread, and stop for ever after an error. Here a step is written
together with its line in ``metrics.jsonl``, and after a full disk the file is continued.
"""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from edgekd.files.atomic import append_whole

PREFIX = "events.out.tfevents."  # TensorBoard looks for "tfevents", and reads files in the order of names
VERSION = "brain.Event:2"  # with this version TensorBoard heeds the step at which a process began


class EventFile:
    """The event file of one process. The files of earlier processes are kept.

    Nothing is written before the first `append`.

    Args:
        folder: an existing folder.
        next_step: the first step of this process. TensorBoard ignores this and later steps in earlier files.
        began: when the process began, in seconds since 1970.
    """

    def __init__(self, folder: Path, next_step: int, began: float) -> None:
        numbers = [each.name.removeprefix(PREFIX) for each in folder.glob(f"{PREFIX}*")]
        number = max((int(each) for each in numbers if each.isdecimal()), default=0) + 1
        self._path = folder / f"{PREFIX}{number:010}"  # not the time: the clock of some boxes is wrong
        start = SessionLog(status=SessionLog.START)
        self._head = [
            Event(wall_time=began, file_version=VERSION),
            Event(wall_time=began, step=next_step, session_log=start),
        ]  # to be written before the first step

    def append(self, records: Iterable[tuple[float, Mapping[str, Any]]]) -> None:
        """Append steps, each as a time in seconds since 1970 and a record of ``metrics.jsonl``.

        Raises:
            OSError: the file cannot be written; then none of these steps is in it.
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
    """The values of one step for TensorBoard, by the names of their curves.

    Args:
        record: a line of ``metrics.jsonl``. Numbers that are None, or that old records lack, are left out.
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

"""Each bad frame that there is, sent to a live peer over either transport: refused, counted by its reason, no more."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import addresses, neighbour, peer, summary, until_status
from strangers import Stranger

from edgekd.protocol.guard import REFUSALS
from edgekd.protocol.messages import Ask, Asked, Encoding, Heartbeat, SoftPredictions

ENDLESS = ["--steps", 0, "--checkpoint-every", 0, "--encoding", "float32"]
Bad = Callable[[Stranger, int], bytes]


def holding(value: float) -> Bad:
    """Predictions of which one log-probability is `value`."""

    def make(by: Stranger, round: int) -> bytes:
        sound = by.predictions(round)
        values = np.full(len(sound.payload) // 2, -math.log(sound.classes), "<f4")
        values[sound.classes + 1] = value
        return by.packed(replace(sound, encoding=Encoding.FLOAT32, payload=values.tobytes()))

    return make


def changed(**changes: Any) -> Bad:
    return lambda by, round: by.packed(replace(by.predictions(round), **changes))


def of_encoding(encoding: Encoding, payload: Callable[[SoftPredictions], bytes]) -> Bad:
    def make(by: Stranger, round: int) -> bytes:
        sound = by.predictions(round)
        return by.packed(replace(sound, encoding=encoding, payload=payload(sound)))

    return make


def rows(of: SoftPredictions) -> int:
    return of.heads * of.rows


def in_unknown_encoding(by: Stranger, round: int) -> bytes:
    """Predictions in an encoding of a later version."""
    sound = by.packed(replace(by.predictions(round), encoding=Encoding.ONE_BIT))
    number, another = {b"\x10\x05": b"\x10\x63", b"encoding\x05": b"encoding\x63"}, sound
    for now, then in number.items():
        another = another.replace(now, then, 1)
    assert another != sound
    return another


BAD: dict[str, tuple[Bad, str]] = {
    "not a number": (holding(math.nan), "nan"),
    "infinite": (holding(math.inf), "nan"),
    "minus infinite": (holding(-math.inf), "nan"),
    "above probability 1": (holding(0.5), "positive"),
    "sum below 1": (holding(-60.0), "sum"),
    "sum above 1": (holding(-0.01), "sum"),
    "another number of heads": (changed(heads=2), "shape"),
    "another number of rows": (changed(rows=7), "shape"),
    "another number of classes": (changed(classes=9), "shape"),
    "no rows": (changed(rows=0), "range"),
    "rows without number": (changed(rows=2**32 - 1, heads=2**32 - 1, classes=2**32 - 1), "shape"),
    "too short": (changed(payload=b"\0" * 3), "length"),
    "empty": (changed(payload=b""), "length"),
    "another encoding's length": (changed(encoding=Encoding.FLOAT32), "length"),
    "unknown encoding": (in_unknown_encoding, "encoding"),
    "a class that there is not": (of_encoding(Encoding.ONE_BIT, lambda of: bytes([of.classes]) * rows(of)), "class"),
    "a class named twice": (of_encoding(Encoding.TOP_K, lambda of: b"\0\0\0\xb9" * 2 * rows(of)), "class"),
    "sum below 1 in uint8": (of_encoding(Encoding.UINT8, lambda of: b"\xff" * rows(of) * of.classes), "sum"),
    "round before all": (lambda by, round: by.packed(replace(by.predictions(round), round=-1)), "range"),
    "round beyond all": (lambda by, round: by.packed(replace(by.predictions(round), round=2**62)), "range"),
    "a second Hello": (lambda by, round: by.packed(replace(by.theirs, id=5)), "hello"),
    "a question amid a stream": (lambda by, round: by.packed(Ask(what=Asked.STATUS)), "hello"),
    "accuracy of 2": (
        lambda by, round: by.packed(Heartbeat(step=1, steps=0, round=0, done=False, accuracy=2)),
        "range",
    ),
    "steps below 0": (lambda by, round: by.packed(Heartbeat(step=-1, steps=0, round=0, done=False)), "range"),
    "noise": (lambda by, round: b"\xc1\xff" * 100, "garbled"),
    "nothing": (lambda by, round: by.empty, "empty"),
    "oversized": (lambda by, round: b"\xc1" * (80 * 1024), "oversized"),
}


@pytest.fixture(params=["grpc", "zmq"])
def group(request: pytest.FixtureRequest, spawn: Any, tmp_path: Path) -> Iterator[Any]:
    """The address and transport of a real peer 0, its process, a well-behaved stranger 6, and a bad stranger 5."""
    (where,) = addresses(1)
    process = spawn(peer(0, tmp_path, *ENDLESS, "--transport", request.param, listen=where))
    process.until_step(1)
    made = [Stranger(where, id, transport=request.param) for id in (6, 5)]
    try:
        yield where, request.param, process, *made
    finally:
        for each in made:
            each.close()


def test_every_bad_frame_is_counted_by_its_reason_and_training_with_others_goes_on(group: Any, tmp_path: Path) -> None:
    where, transport, process, good, bad = group
    round = bad.until(SoftPredictions).round
    assert len(BAD) < REFUSALS, "else it is cut off before the last"
    for make, _ in BAD.values():
        bad.send_bytes(make(bad, round))
    wanted = Counter(reason for _, reason in BAD.values())
    seen = until_status(where, lambda s: sum(s.refused.values()) >= len(BAD), transport=transport)
    assert seen.refused == wanted
    assert neighbour(seen, 5).up
    good.teach(seen.round + 500)
    bad.teach(seen.round + 500)  # and who behaves again is heard
    process.until(lambda p: p.last["round"] >= seen.round + 500)
    process.until_step(process.last["step"] + 5)
    heard = until_status(where, lambda s: all(neighbour(s, id).age is not None for id in (5, 6)), transport=transport)
    assert heard.refused == wanted
    process.terminate()
    assert summary(tmp_path, 0)["refused"] == wanted


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_lockstep_waits_for_nobody_whose_predictions_are_refused(transport: str, spawn: Any, tmp_path: Path) -> None:
    (where,) = addresses(1)
    process = spawn(peer(0, tmp_path, "--steps", 8, "--sync", "--wait-for", 1, "--transport", transport, listen=where))
    process.until(lambda p: p.last.get("state") == "waiting")
    bad = Stranger(where, 5, transport=transport)
    bad.until(SoftPredictions)
    bad.send_bytes(changed(heads=2)(bad, 0))
    assert process.wait() == 0, process.err
    bad.close()
    reached = summary(tmp_path, 0)
    assert (reached["steps"], reached["missing"], reached["refused"]) == (8, 8, {"shape": 1})

"""Which addresses a peer dials, and when failed dials are logged."""

import asyncio
import logging
from dataclasses import replace

import pytest

from edgekd.protocol.timing import Timing
from peer.network.dialling import Dialler
from peer.network.news import AGAIN, News
from peer.transports.resolving import UnresolvedError

TIMING = Timing(backoff_first=0.001, backoff_max=0.002, down_after=5.0)


def lines_of(
    answers: list[bool],
    caplog: pytest.LogCaptureFixture,
    error: type[OSError] = ConnectionRefusedError,
    timing: Timing = TIMING,
) -> list[tuple[int, str]]:
    """What is said while an address is dialled once a second and answers so: (second, line)."""
    second, said = 0, []
    caplog.clear()

    async def converse(address: str) -> int | None:
        nonlocal second
        said.extend((second, line) for line in caplog.messages)
        caplog.clear()
        second += 1
        if second > len(answers):
            dialler.stop()
            raise ConnectionRefusedError("the end")
        if not answers[second - 1]:
            raise error(f"cannot reach {address}")
        return 1

    dialler = Dialler(
        converse,
        asyncio.ensure_future,
        connected=set(),
        own=set(),
        expected=lambda id: True,
        news=News(),
        timing=timing,
        clock=lambda: float(second),
    )

    async def scenario() -> None:
        dialler.dial("box-a:7000")
        while dialler.dials("box-a:7000"):
            await asyncio.sleep(0.001)

    with caplog.at_level(logging.INFO, "edgekd"):
        asyncio.run(scenario())
    return said


def test_address_that_has_never_answered_is_news_after_as_long_as_a_silent_neighbour_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert lines_of([False, False, True, True], caplog) == [], "peers that start together do not listen all at once"
    assert lines_of([False] * 8, caplog) == [(5, "cannot reach box-a:7000; keep dialling")]


def test_address_that_has_answered_is_news_at_once(caplog: pytest.LogCaptureFixture) -> None:
    assert lines_of([True, False, False], caplog) == [(2, "cannot reach box-a:7000; keep dialling")]


def test_name_that_is_unknown_is_news_after_some_seconds_and_again_as_often_as_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = "cannot reach box-a:7000; keep dialling"
    again = int(AGAIN)
    for timing in (TIMING, replace(TIMING, down_after=15.0)):
        patience = int(timing.down_after)
        refused = lines_of([False] * (again + 20), caplog, timing=timing)
        unknown = lines_of([False] * (again + 20), caplog, UnresolvedError, timing)
        assert [second for second, _ in refused] == [patience, patience + again]
        assert [second for second, _ in unknown] == [5, 5 + again], "its container may not run yet"
        assert unknown[0] == (5, line)


def test_name_that_is_unknown_no_longer_is_news_at_once(caplog: pytest.LogCaptureFixture) -> None:
    line = "cannot reach box-a:7000; keep dialling"
    assert lines_of([True, False, False], caplog, UnresolvedError) == [(2, line)]

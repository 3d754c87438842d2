"""Log lines: news once, repetitions rarely, and a bounded number of lines whatever happens."""

import logging

import pytest

from peer.network.news import AGAIN, BURST, BURST_ALL, EVERY, EVERY_ALL, MAX_SUBJECTS, News

Said = pytest.LogCaptureFixture


@pytest.fixture
def said(caplog: Said) -> Said:
    caplog.set_level(logging.INFO, "edgekd")
    return caplog


def test_news_is_said_at_once_and_repetitions_are_not(said: Said) -> None:
    news = News()
    for now in range(100):
        news.say("box-a:7000", logging.INFO, "cannot reach box-a:7000; keep dialling", float(now))
    news.say("box-a:7000", logging.INFO, "box-a:7000 is no peer; keep dialling", 100.0)
    assert said.messages == [
        "cannot reach box-a:7000; keep dialling",
        "box-a:7000 is no peer; keep dialling [99 left out]",
    ]


def test_repetition_is_said_again_after_ten_minutes_with_how_often_it_was_left_out(said: Said) -> None:
    news = News()
    for now in range(0, 1202, 2):
        news.say("disk", logging.WARNING, "cannot write", 5000.0 + now)
    assert AGAIN == 600.0
    assert said.messages == ["cannot write", "cannot write [299 left out]", "cannot write [299 left out]"]
    assert {record.levelno for record in said.records} == {logging.WARNING}


def test_flapping_neighbour_gets_so_many_lines_a_minute_and_its_last_state_is_said(said: Said) -> None:
    news, now = News(), 0.0
    for flap in range(36_000):  # an hour at ten a second
        now = flap / 10
        news.say("peer 1", logging.INFO, f"peer 1 is {'down' if flap % 2 else 'up'}", now)
        news.catch_up(now)
    assert len(said.messages) == pytest.approx(BURST + 3600 / EVERY, abs=2)
    news.say("peer 1", logging.INFO, "peer 1 is up again for good", now)
    news.catch_up(now + EVERY)
    assert said.messages[-1].startswith("peer 1 is up again for good [")
    left_out = sum(int(text.split("[")[1].split()[0]) for text in said.messages if "[" in text)
    assert left_out + len(said.messages) == 36_001, "each message was said or counted"


def test_subjects_have_nothing_to_do_with_one_another(said: Said) -> None:
    news = News()
    for number in range(10 * BURST):
        news.say("peer 1 sum", logging.WARNING, f"refused frame {number} of peer 1", 0.0)
    news.say("peer 2", logging.INFO, "peer 2 is up", 0.0)
    assert len(said.messages) == BURST + 1
    assert said.messages[-1] == "peer 2 is up"


def test_catching_up_says_nothing_that_was_said(said: Said) -> None:
    news = News()
    news.say("peer 2", logging.INFO, "peer 2 is up", 0.0)
    news.catch_up(1e6)
    assert said.messages == ["peer 2 is up"]


def test_strangers_without_number_get_a_bounded_number_of_lines_and_of_memory(said: Said) -> None:
    news = News()
    for number in range(36_000):  # an hour at ten a second, each with another name
        news.say(f"somebody at {number}", logging.WARNING, "refused a frame", number / 10)
        news.catch_up(number / 10)
    assert len(said.messages) == pytest.approx(BURST_ALL + 3600 / EVERY_ALL, abs=2)
    assert len(news._subjects) == MAX_SUBJECTS


def test_what_is_newest_is_said_first_after_a_flood(said: Said) -> None:
    news = News()
    for number in range(2 * BURST_ALL):
        news.say(f"somebody at {number}", logging.WARNING, "refused a frame", 0.0)
    news.say("peer 2", logging.INFO, "peer 2 is down", 0.0)
    assert len(said.messages) == BURST_ALL
    news.catch_up(EVERY_ALL)
    assert said.messages[BURST_ALL:] == ["peer 2 is down"]

"""What arrives during a long step is bounded, whoever sends it, and comes out in the order in which it came."""

from hypothesis import given
from hypothesis import strategies as st

from edgekd.protocol.board import ROUNDS
from edgekd.protocol.waiting import Waiting


@given(st.lists(st.integers(0, 5), max_size=200))
def test_each_senders_newest_are_kept_in_order(senders: list[int]) -> None:
    waiting: Waiting[tuple[int, int]] = Waiting()
    arrivals = list(enumerate(senders))
    for arrival in arrivals:
        waiting.put(arrival[1], arrival)
    newest = [arrival for id in range(6) for arrival in [a for a in arrivals if a[1] == id][-ROUNDS:]]
    assert waiting.take() == sorted(newest)
    assert waiting.take() == []


def test_one_stranger_with_ids_without_number_takes_no_more_room_than_so_many_neighbours() -> None:
    waiting: Waiting[int] = Waiting(neighbours=4)
    for id in range(1000):
        for _ in range(ROUNDS):
            waiting.put(id, id)
        waiting.put(-1, -1)  # a neighbour that goes on teaching
    taken = waiting.take()
    assert len(taken) == 4 * ROUNDS
    assert set(taken) == {-1, 997, 998, 999}

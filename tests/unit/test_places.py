"""Who has to leave the door when one more stranger comes."""

from hypothesis import given
from hypothesis import strategies as st

from edgekd.protocol.places import MOST, MOST_OF_ONE, Places


def test_one_proven_id_holds_a_few_places_and_pushes_out_itself_alone() -> None:
    places: Places[str] = Places()
    assert places.enter("honest", id=1, address="a") is None
    left = [places.enter(f"mute {n}", id=7, address="a") for n in range(100)]
    assert left[:MOST_OF_ONE] == [None] * MOST_OF_ONE
    assert left[MOST_OF_ONE:] == [f"mute {n}" for n in range(100 - MOST_OF_ONE)]
    assert len(places) == 1 + MOST_OF_ONE


def test_when_the_door_is_full_the_longest_silent_of_the_address_with_most_places_goes() -> None:
    places: Places[str] = Places()
    places.enter("honest", id=None, address="a")
    for n in range(MOST - 1):
        assert places.enter(f"mute {n}", id=None, address="b") is None
    assert places.enter("newcomer", id=None, address="c") == "mute 0"
    assert places.enter("another of b", id=None, address="b") == "mute 1"


def test_place_that_is_left_is_free_again_and_leaving_twice_is_fine() -> None:
    places: Places[int] = Places()
    for n in range(MOST):
        places.enter(n, id=None, address="a")
    places.leave(5)
    places.leave(5)
    assert places.enter(100, id=None, address="a") is None


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.sampled_from("abc")), max_size=300))
def test_whoever_comes_gets_in_and_there_are_never_too_many(callers: list[tuple[int | None, str]]) -> None:
    places: Places[int] = Places()
    inside: set[int] = set()
    for guest, (id, address) in enumerate(callers):
        left = places.enter(guest, id=id, address=address)
        inside.add(guest)
        if left is not None:
            assert left in inside - {guest}
            inside.remove(left)
        assert len(places) == len(inside) <= MOST

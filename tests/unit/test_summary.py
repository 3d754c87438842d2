"""What a run has reached."""

import pytest

from edgekd.files.summary import PeerSummary, Summary, merge, standard_error
from edgekd.learning.optimiser import learning_rate


def peers(*accuracies: float | None) -> Summary:
    each = (PeerSummary(id=i, accuracy=a, own_accuracy=a, steps=9) for i, a in enumerate(accuracies))
    return Summary(peers=tuple(each))


def test_gap_closed_is_measured_from_alone_to_pooled() -> None:
    summary = Summary(peers=peers(0.8, 0.9).peers, baseline=peers(0.4, 0.5), balanced=peers(0.6, 0.6), pooled=0.95)
    assert summary.gap_closed == pytest.approx((0.85 - 0.45) / (0.95 - 0.45))
    assert summary.std_accuracy == pytest.approx(0.05)


def test_without_a_gap_there_is_no_share_of_it() -> None:
    assert Summary(peers=peers(0.8).peers, baseline=peers(0.9), pooled=0.9).gap_closed is None


def test_peer_that_was_stopped_before_its_first_evaluation_is_left_out_of_the_mean() -> None:
    assert peers(0.5, None).mean_accuracy == 0.5
    assert peers(None).mean_accuracy is None


def test_summary_survives_its_mapping() -> None:
    summary = Summary(peers=peers(0.8, None).peers, baseline=peers(0.4, 0.5), balanced=peers(0.6, 0.6), pooled=0.95)
    assert Summary.from_mapping(summary.to_mapping()) == summary


def test_merged_peers_come_in_the_order_of_their_ids() -> None:
    one, two = peers(0.1, 0.2).peers
    assert merge([Summary(peers=(two,)), Summary(peers=(one,))], 3.0) == Summary(peers=(one, two), seconds=3.0)


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant"])
def test_learning_rate_stays_positive_and_at_most_its_peak(schedule: str) -> None:
    rates = [learning_rate(schedule, 0.05, step, 120) for step in range(120)]
    assert all(0 < rate <= 0.05 for rate in rates)
    assert max(rates) == pytest.approx(0.05, rel=0.05)
    if schedule != "constant":
        assert rates[-1] < 0.001


def test_run_without_end_has_a_constant_learning_rate() -> None:
    assert {learning_rate("onecycle", 0.05, step, 0) for step in (0, 10**6)} == {0.05}


def test_standard_error_is_largest_in_the_middle() -> None:
    assert standard_error(0.5, 100) == pytest.approx(0.05)
    assert standard_error(1.0, 100) == 0

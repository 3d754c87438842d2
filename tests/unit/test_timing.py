"""The presets of time limits, and who takes --timing."""

from dataclasses import asdict, replace

import pytest
from click.testing import CliRunner

from edgekd.cli import cli
from edgekd.config import ExchangeConfig
from edgekd.errors import ConfigError
from edgekd.protocol.timing import LAN, TIMINGS, WAN, Timing

HALF_OPEN = 15.0  # seconds after which the transports' keepalives end a dead stream


def test_wan_is_more_patient_and_beats_no_slower_since_others_may_be_impatient() -> None:
    assert WAN.heartbeat_every == LAN.heartbeat_every
    assert all(asdict(WAN)[name] >= value for name, value in asdict(LAN).items())
    assert LAN.down_after < WAN.down_after <= HALF_OPEN


@pytest.mark.parametrize("timing", TIMINGS.values(), ids=TIMINGS.keys())
def test_preset_leaves_room_for_lost_heartbeats_and_for_the_goodbye_of_a_peer_that_stops(timing: Timing) -> None:
    assert timing.down_after >= 3 * timing.heartbeat_every
    assert timing.probe_for < timing.down_after
    assert timing.stop_timeout >= timing.close_timeout + 2.5, "what a transport needs to close"


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_time_limit_that_is_no_positive_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="probe_for must be > 0 seconds and finite"):
        replace(LAN, probe_for=value)


def test_neighbour_cannot_be_down_between_two_heartbeats() -> None:
    with pytest.raises(ValueError, match=r"heartbeat_every must be < down_after, got 1\.0 and 0\.5 seconds"):
        Timing(down_after=0.5)


def test_setting_names_a_preset_and_nothing_said_is_lan() -> None:
    assert ExchangeConfig().time_limits() is LAN
    assert ExchangeConfig(timing="wan").time_limits() is WAN
    with pytest.raises(ConfigError, match="timing must be one of lan, wan, got moon"):
        ExchangeConfig(timing="moon")


def test_real_peers_take_the_flag_and_simulations_do_not() -> None:
    def offers(name: str) -> bool:
        return "--timing lan|wan" in CliRunner().invoke(cli, [name, "--help"]).output

    assert {name: offers(name) for name in ("peer", "run", "simulate", "sweep")} == {
        "peer": True,
        "run": True,
        "simulate": False,
        "sweep": False,
    }

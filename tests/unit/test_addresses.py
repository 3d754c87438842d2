import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import ConfigError
from edgekd.protocol.addresses import format_address, parse_address, place

hosts = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,6})?", fullmatch=True),
)


@given(host=hosts, port=st.integers(0, 65535))
@settings(deadline=None)
def test_address_is_the_opposite_of_join(host: str, port: int) -> None:
    assert parse_address(format_address(host, port)) == (host, port)


def test_ipv6_goes_in_brackets_and_comes_out_without() -> None:
    assert parse_address("[::1]:7000") == ("::1", 7000)
    assert parse_address("[fe80::1%eth0]:0") == ("fe80::1%eth0", 0)
    assert ipaddress.ip_address(parse_address("[2001:db8::7]:1")[0]).version == 6


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7000",
        "\udcff:7000",
        "a\u202eb:7000",
        ":7000",
        "host",
        "host:",
        "host:abc",
        "host:70000",
        "host:-1",
        "::1:7000",
        "[::1]",
        "http://host:1",
        "host:7000/x",
        "ho st:1",
        " host:1",
        "host:1 ",
        "host:1\n",
        "[host:1",
        "host]:1",
        "a:1,b:2",
        "me@host:1",
        "h:\u0667",
        "box..local:1",
        ".:1",
        f"{'x' * 64}:1",
    ],
)
def test_anything_but_host_and_port_is_refused_with_the_text_in_the_message(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_address(text)
    assert repr(text) in str(raised.value)


def test_place_names_who_is_to_be_there() -> None:
    assert place("box-a:7000") == (None, "box-a:7000")
    assert place("12@[::1]:7000") == (12, "[::1]:7000")


@pytest.mark.parametrize(
    "text", ["@box:7000", "-1@box:7000", "one@box:7000", "1@2@box:7000", "²@box:7000", "1@box", f"{2**31}@b:1"]
)
def test_place_refuses_what_is_no_id_and_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError):
        place(text)

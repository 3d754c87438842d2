"""The laws of the encodings that peer.proto states, and every refusal."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekd.errors import ConfigError, RemoteProtocolError
from edgekd.protocol.codec import decode, encode
from edgekd.protocol.encodings import Packing
from edgekd.protocol.frames import payload_bytes
from edgekd.protocol.messages import Contract, Encoding, SoftPredictions

PACKINGS = [Packing(each, kept=2) for each in Encoding]
FLOAT32, FLOAT16, UINT8, TOP_2, ONE_BIT = PACKINGS
DENSE = [FLOAT32, FLOAT16]
CONTRACT = Contract(
    public_sha256="0" * 64, public_batch=3, classes=4, heads=2, temperature=1.0, augment="none", mode="async"
)

logits = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(2, 12)),
    elements=st.floats(-300, 300, width=32),
)


def named(packing: Packing) -> str:
    return packing.encoding.value


def contract_of(values: torch.Tensor) -> Contract:
    heads, rows, classes = values.shape
    return replace(CONTRACT, heads=heads, public_batch=rows, classes=classes)


def random_log_probs() -> torch.Tensor:
    return torch.log_softmax(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1)), dim=-1)


def of_payload(payload: bytes, packing: Packing) -> SoftPredictions:
    return SoftPredictions(round=0, encoding=packing.encoding, heads=2, rows=3, classes=4, payload=payload)


def packed(values: np.ndarray, packing: Packing) -> SoftPredictions:
    return of_payload(values.astype("<f4" if packing is FLOAT32 else "<f2").tobytes(), packing)


def reason(message: SoftPredictions, contract: Contract = CONTRACT) -> str:
    with pytest.raises(RemoteProtocolError) as raised:
        decode(message, contract)
    return raised.value.reason


def largest_error(packing: Packing, classes: int) -> float:
    """The largest error of a probability, by the table in edgekd/protocol/encodings.py."""
    rounding = 1 / math.e + math.log(classes)
    return {
        Encoding.FLOAT32: 2**-21 * rounding,
        Encoding.FLOAT16: 2**-11 * rounding,
        Encoding.UINT8: 0.016,
        Encoding.TOP_K: 1 / (packing.kept + 1) + 2**-11 * rounding,
        Encoding.ONE_BIT: (1 - 1 / classes) / 2,
    }[packing.encoding]


@pytest.mark.parametrize("packing", PACKINGS, ids=named)
@given(logits=logits)
@settings(deadline=None)
def test_decoded_probabilities_are_within_the_encodings_error_and_sum_to_one(
    packing: Packing, logits: np.ndarray
) -> None:
    log_probs = torch.log_softmax(torch.from_numpy(logits), dim=-1)
    probs = decode(encode(log_probs, 5, packing), contract_of(log_probs))
    exact = torch.log_softmax(torch.from_numpy(logits).double(), dim=-1).exp()
    assert probs.dtype is torch.float32
    assert probs.shape == log_probs.shape
    assert bool(torch.isfinite(probs).all())
    assert bool((probs >= 0).all())
    assert float((probs.sum(dim=-1) - 1).abs().max()) <= 1e-6
    assert float((probs - exact).abs().max()) <= largest_error(packing, logits.shape[-1]) + 2e-6


@given(logits=logits, kept=st.integers(1, 12))
@settings(deadline=None)
def test_top_k_keeps_the_likeliest_and_spreads_what_is_left_evenly(logits: np.ndarray, kept: int) -> None:
    log_probs = torch.log_softmax(torch.from_numpy(logits), dim=-1)
    probs = decode(encode(log_probs, 0, Packing(Encoding.TOP_K, kept)), contract_of(log_probs))
    order = log_probs.exp().sort(dim=-1, descending=True).values
    spread = probs.sort(dim=-1, descending=True).values
    assert float((spread[..., :kept] - order[..., :kept]).abs().max()) <= 2**-10 * (1 / math.e + math.log(12)) + 2e-6
    rest = spread[..., kept:]
    assert float((rest - order[..., kept:].mean(dim=-1, keepdim=True)).nan_to_num().abs().sum()) <= 0.01


@pytest.mark.parametrize("packing", PACKINGS, ids=named)
@given(classes=st.integers(2, 20_000), sharpness=st.floats(0, 50))
@settings(deadline=None, max_examples=50)
def test_rounding_never_breaks_the_stated_tolerance_on_the_sum(
    packing: Packing, classes: int, sharpness: float
) -> None:
    logits = torch.zeros(1, 2, classes)
    logits[:, 1, : classes // 2] = sharpness  # all rounding errors of a half point the same way
    log_probs = torch.log_softmax(logits, dim=-1)
    decode(encode(log_probs, 0, packing), contract_of(log_probs))


@pytest.mark.parametrize("packing", [each for each in PACKINGS if each is not ONE_BIT], ids=named)
def test_probability_zero_survives_though_no_encoding_has_an_infinity(packing: Packing) -> None:
    certain = torch.full((2, 3, 4), -math.inf)
    certain[..., 1] = 0.0
    assert torch.equal(decode(encode(certain, 0, packing), CONTRACT), certain.exp())


@pytest.mark.parametrize("classes", [1, 2, 256, 257])
@pytest.mark.parametrize("packing", [TOP_2, ONE_BIT], ids=named)
def test_named_classes_come_back_whatever_a_class_takes(packing: Packing, classes: int) -> None:
    log_probs = (torch.eye(classes) * 3)[None].log_softmax(-1)
    found = decode(encode(log_probs, 0, packing), contract_of(log_probs))
    assert found.dtype == torch.float32
    assert torch.equal(found.argmax(-1)[0], torch.arange(classes))


def test_one_bit_is_read_as_likely_not_as_certain() -> None:
    found = decode(encode(torch.tensor([0.1, 0.2, 0.3, 0.4]).repeat(2, 3, 1).log(), 0, ONE_BIT), CONTRACT)
    assert torch.equal(found, torch.tensor([0.125, 0.125, 0.125, 0.625]).repeat(2, 3, 1))


def test_payload_is_little_endian_row_major_and_of_the_announced_length() -> None:
    log_probs = random_log_probs().transpose(0, 1).contiguous().transpose(0, 1)  # not contiguous
    message = encode(log_probs, 9, FLOAT16)
    assert (message.round, message.heads, message.rows, message.classes) == (9, 2, 3, 4)
    assert len(message.payload) == payload_bytes(CONTRACT, FLOAT16) == 2 * 3 * 4 * 2
    third = int.from_bytes(message.payload[2 * 4 * 2 : 2 * 4 * 2 + 2], "little")  # head 0, row 2, class 0
    assert np.uint16(third).view(np.float16) == np.float16(log_probs[0, 2, 0])


def test_payloads_are_as_the_proto_draws_them() -> None:
    probs = torch.tensor([0.5, 0.25, 0.0, 0.25]).repeat(2, 3, 1)
    log_probs = probs.log()
    assert encode(log_probs, 0, UINT8).payload == bytes([11, 22, 255, 22]) * 6  # ln 2 is 11.09 sixteenths
    assert encode(log_probs, 0, ONE_BIT).payload == bytes(6)
    top = encode(log_probs, 0, Packing(Encoding.TOP_K, 1)).payload
    assert top == (b"\0\0" + np.float16(math.log(0.5)).tobytes()) * 6
    wide = torch.zeros(1, 1, 300)
    wide[..., 258] = 5.0
    assert encode(wide.log_softmax(-1), 0, ONE_BIT).payload == b"\x02\x01"


@pytest.mark.parametrize(
    ("text", "ten", "many"),
    [("float32", 40, 1588), ("float16", 20, 794), ("uint8", 10, 397), ("top-k:5", 20, 20), ("one-bit", 1, 2)],
)
def test_a_row_has_the_size_that_its_encoding_states(text: str, ten: int, many: int) -> None:
    packing = Packing.parse(text)
    for classes, size in ((10, ten), (397, many)):
        contract = replace(CONTRACT, classes=classes)
        assert packing.row_bytes(classes) == size
        values = torch.zeros(2, 3, classes).log_softmax(-1)
        assert len(encode(values, 0, packing).payload) == payload_bytes(contract, packing) == 6 * size


@pytest.mark.parametrize("text", ["float64", "", "top-k", "top-k:", "top-k:0", "top-k:-1", "top-k:65537", "float16:3"])
def test_another_encoding_is_refused_and_the_known_ones_are_listed(text: str) -> None:
    with pytest.raises(ConfigError, match="float32, float16, uint8, top-k:K"):
        Packing.parse(text)


@pytest.mark.parametrize("packing", [TOP_2, ONE_BIT], ids=named)
def test_more_classes_than_a_sparse_encoding_can_name_are_a_config_error(packing: Packing) -> None:
    packing.row_bytes(65_536)
    with pytest.raises(ConfigError, match="at most 65536 classes, got 65537"):
        packing.row_bytes(65_537)


def test_encoding_leaves_its_input_alone_and_takes_gradients_and_other_float_types() -> None:
    log_probs = torch.full((2, 3, 4), -math.inf, dtype=torch.float64)
    log_probs[..., 0] = 0.0
    before = log_probs.clone()
    message = encode(log_probs.requires_grad_(), 0, FLOAT32)
    assert torch.equal(log_probs.detach(), before)
    assert torch.equal(decode(message, CONTRACT), before.exp().float())


@pytest.mark.parametrize("changes", [{"heads": 1}, {"public_batch": 4}, {"classes": 5}])
def test_another_shape_than_the_contracts_is_refused(changes: dict[str, int]) -> None:
    assert reason(encode(random_log_probs(), 0, FLOAT32), replace(CONTRACT, **changes)) == "shape"


@pytest.mark.parametrize("packing", PACKINGS, ids=named)
@pytest.mark.parametrize("payload", [b"", b"\0", b"\0" * 47, b"\0" * 49, b"\0" * 200])
def test_payload_of_another_length_is_refused(packing: Packing, payload: bytes) -> None:
    assert reason(of_payload(payload, packing)) == "length"


@pytest.mark.parametrize("packing", DENSE, ids=named)
@pytest.mark.parametrize(
    ("value", "why"),
    [(math.nan, "nan"), (math.inf, "nan"), (-math.inf, "nan"), (0.5, "positive"), (-0.01, "sum"), (-30.0, "sum")],
)
def test_one_bad_value_is_refused_by_its_reason(packing: Packing, value: float, why: str) -> None:
    values = np.full((2, 3, 4), -60.0)
    values[..., 2] = 0.0
    decode(packed(values, packing), CONTRACT)
    values[1, 1, 2 if value < 0 else 0] = value
    if value == -0.01:
        values[1, 1, 0] = math.log(0.05)
    assert reason(packed(values, packing)) == why


def entries(*rows: tuple[int, float]) -> SoftPredictions:
    """A top-k message: the entries of its last row; the five before it are sound."""
    sound = [(0, -0.7), (1, -0.7)] * 5
    packed = np.array([*sound, *rows], np.dtype([("class", "<u2"), ("log_prob", "<f2")]))
    return of_payload(packed.tobytes(), TOP_2)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([(0, -0.7), (4, -0.7)], "class"),
        ([(0, -0.7), (65_535, -60.0)], "class"),
        ([(3, -0.7), (3, -0.7)], "class"),
        ([(0, -0.1), (1, -0.1)], "sum"),
        ([(0, math.nan), (1, -0.7)], "nan"),
        ([(0, math.inf), (1, -0.7)], "nan"),
        ([(0, 0.5), (1, -0.7)], "positive"),
    ],
)
def test_one_bad_entry_of_top_k_is_refused_by_its_reason(rows: list[tuple[int, float]], why: str) -> None:
    decode(entries((3, -0.7), (2, -0.7)), CONTRACT)
    assert reason(entries(*rows)) == why


def test_other_bad_payloads_are_refused_by_their_reason() -> None:
    assert reason(of_payload(bytes([0, 0, 0, 0, 4, 0]), ONE_BIT)) == "class"
    assert reason(of_payload(bytes([0, 0, 255, 255] * 6), UINT8)) == "sum"
    assert reason(of_payload(bytes([255] * 24), UINT8)) == "sum"


@pytest.mark.parametrize("packing", [FLOAT32, FLOAT16, UINT8, TOP_2], ids=named)
def test_predictions_of_a_diverged_learner_are_packed_and_refused_by_the_receiver(packing: Packing) -> None:
    assert reason(encode(torch.full((2, 3, 4), math.nan), 0, packing)) in ("nan", "sum")


@pytest.mark.parametrize("packing", PACKINGS, ids=named)
@given(payload=st.binary(min_size=96, max_size=96))
@settings(deadline=None)
def test_any_bytes_decode_to_distributions_or_are_refused(packing: Packing, payload: bytes) -> None:
    try:
        probs = decode(of_payload(payload[: payload_bytes(CONTRACT, packing)], packing), CONTRACT)
    except RemoteProtocolError:
        return
    assert bool(torch.isfinite(probs).all())
    assert bool((probs >= 0).all())
    assert float((probs.sum(dim=-1) - 1).abs().max()) <= 1e-6

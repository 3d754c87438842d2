"""The laws of the encodings that peer.proto states, and every refusal."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekd.codec import decode, encode, payload_bytes
from edgekd.errors import RemoteProtocolError
from edgekd.messages import Contract, Encoding, SoftPredictions

ENCODINGS = list(Encoding)
CONTRACT = Contract(
    public_sha256="0" * 64, public_batch=3, classes=4, heads=2, temperature=1.0, augment="none", mode="async"
)

logits = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(2, 12)),
    elements=st.floats(-300, 300, width=32),
)


def contract_of(values: torch.Tensor) -> Contract:
    heads, rows, classes = values.shape
    return replace(CONTRACT, heads=heads, public_batch=rows, classes=classes)


def random_log_probs() -> torch.Tensor:
    return torch.log_softmax(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1)), dim=-1)


def packed(values: np.ndarray, encoding: Encoding) -> SoftPredictions:
    dtype = "<f4" if encoding is Encoding.FLOAT32 else "<f2"
    payload = values.astype(dtype).tobytes()
    return SoftPredictions(round=0, encoding=encoding, heads=2, rows=3, classes=4, payload=payload)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(logits=logits)
@settings(deadline=None)
def test_decoded_probabilities_are_within_the_encodings_error_and_sum_to_one(
    encoding: Encoding, logits: np.ndarray
) -> None:
    log_probs = torch.log_softmax(torch.from_numpy(logits), dim=-1)
    probs = decode(encode(log_probs, 5, encoding), contract_of(log_probs))
    exact = torch.log_softmax(torch.from_numpy(logits).double(), dim=-1).exp()
    assert probs.dtype is torch.float32
    assert probs.shape == log_probs.shape
    assert bool(torch.isfinite(probs).all())
    assert bool((probs >= 0).all())
    assert float((probs.sum(dim=-1) - 1).abs().max()) <= 1e-6
    # Of a value p |ln p| <= 1/e is lost to rounding, of its row's sum at most the entropy.
    unit = 2**-11 if encoding is Encoding.FLOAT16 else 2**-21
    assert float((probs - exact).abs().max()) <= unit * (1 / math.e + math.log(logits.shape[-1])) + 1e-6


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(classes=st.integers(2, 20_000), sharpness=st.floats(0, 50))
@settings(deadline=None, max_examples=50)
def test_rounding_never_breaks_the_stated_tolerance_on_the_sum(
    encoding: Encoding, classes: int, sharpness: float
) -> None:
    logits = torch.zeros(1, 2, classes)
    logits[:, 1, : classes // 2] = sharpness  # all rounding errors of a half point the same way
    log_probs = torch.log_softmax(logits, dim=-1)
    decode(encode(log_probs, 0, encoding), contract_of(log_probs))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_probability_zero_survives_though_the_encoding_has_no_infinity(encoding: Encoding) -> None:
    certain = torch.full((2, 3, 4), -math.inf)
    certain[..., 1] = 0.0
    message = encode(certain, 0, encoding)
    dtype = "<f4" if encoding is Encoding.FLOAT32 else "<f2"
    assert np.isfinite(np.frombuffer(message.payload, dtype)).all()
    assert torch.equal(decode(message, CONTRACT), certain.exp())


def test_payload_is_little_endian_row_major_and_of_the_announced_length() -> None:
    log_probs = random_log_probs().transpose(0, 1).contiguous().transpose(0, 1)  # not contiguous
    message = encode(log_probs, 9, Encoding.FLOAT16)
    assert (message.round, message.heads, message.rows, message.classes) == (9, 2, 3, 4)
    assert len(message.payload) == payload_bytes(CONTRACT, Encoding.FLOAT16) == 2 * 3 * 4 * 2
    assert payload_bytes(CONTRACT, Encoding.FLOAT32) == 2 * 3 * 4 * 4
    third = int.from_bytes(message.payload[2 * 4 * 2 : 2 * 4 * 2 + 2], "little")  # head 0, row 2, class 0
    assert np.uint16(third).view(np.float16) == np.float16(log_probs[0, 2, 0])


def test_encoding_leaves_its_input_alone_and_takes_gradients_and_other_float_types() -> None:
    log_probs = torch.full((2, 3, 4), -math.inf, dtype=torch.float64)
    log_probs[..., 0] = 0.0
    before = log_probs.clone()
    message = encode(log_probs.requires_grad_(), 0, Encoding.FLOAT32)
    assert torch.equal(log_probs.detach(), before)
    assert torch.equal(decode(message, CONTRACT), before.exp().float())


@pytest.mark.parametrize("changes", [{"heads": 1}, {"public_batch": 4}, {"classes": 5}])
def test_another_shape_than_the_contracts_is_refused(changes: dict[str, int]) -> None:
    message = encode(random_log_probs(), 0, Encoding.FLOAT32)
    with pytest.raises(RemoteProtocolError) as raised:
        decode(message, replace(CONTRACT, **changes))
    assert raised.value.reason == "shape"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("payload", [b"", b"\0", b"\0" * 47, b"\0" * 49, b"\0" * 200])
def test_payload_of_another_length_is_refused(encoding: Encoding, payload: bytes) -> None:
    message = replace(encode(random_log_probs(), 0, encoding), payload=payload)
    with pytest.raises(RemoteProtocolError) as raised:
        decode(message, CONTRACT)
    assert raised.value.reason == "length"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("value", "reason"),
    [(math.nan, "nan"), (math.inf, "nan"), (-math.inf, "nan"), (0.5, "positive"), (-0.01, "sum"), (-30.0, "sum")],
)
def test_one_bad_value_is_refused_by_its_reason(encoding: Encoding, value: float, reason: str) -> None:
    values = np.full((2, 3, 4), -60.0)
    values[..., 2] = 0.0
    decode(packed(values, encoding), CONTRACT)
    values[1, 1, 2 if value < 0 else 0] = value
    if value == -0.01:
        values[1, 1, 0] = math.log(0.05)
    with pytest.raises(RemoteProtocolError) as raised:
        decode(packed(values, encoding), CONTRACT)
    assert raised.value.reason == reason


def test_predictions_of_a_diverged_learner_are_packed_and_refused_by_the_receiver() -> None:
    message = encode(torch.full((2, 3, 4), math.nan), 0, Encoding.FLOAT16)
    with pytest.raises(RemoteProtocolError, match="finite"):
        decode(message, CONTRACT)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(payload=st.binary(min_size=96, max_size=96))
@settings(deadline=None)
def test_any_bytes_decode_to_distributions_or_are_refused(encoding: Encoding, payload: bytes) -> None:
    size = payload_bytes(CONTRACT, encoding)
    message = SoftPredictions(round=0, encoding=encoding, heads=2, rows=3, classes=4, payload=payload[:size])
    try:
        probs = decode(message, CONTRACT)
    except RemoteProtocolError:
        return
    assert bool(torch.isfinite(probs).all())
    assert float((probs.sum(dim=-1) - 1).abs().max()) <= 1e-6

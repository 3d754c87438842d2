"""An exported file does what the network does, for any number of images, and says what it is; else none is written."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from networks import CLASSES, MODEL, SIZE, images, network, write_checkpoint
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import edgekd
from edgekd.data.augment import normalise
from edgekd.data.images import fit
from edgekd.data.pictures import open_picture
from edgekd.data.sources import Labelled
from edgekd.errors import ConfigError
from edgekd.use.predictor import Predictor, load

onnx = pytest.importorskip("onnx", reason="needs edgekd[export]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs edgekd[export]")

from edgekd.use.export import Reduced, export_onnx, export_safetensors, noise  # noqa: E402
from edgekd.use.onnx_file import OPSET, PRINTS, to_onnx  # noqa: E402
from edgekd.use.runtime import (  # noqa: E402
    Difference,
    ExportError,
    Session,
    check_installed,
    difference,
    paired_ratio,
)

EXAMPLE = Path(edgekd.__file__).parents[1] / "examples" / "onnx_camera.py"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("peer")
    write_checkpoint(folder, network(heads=2), heads=2)
    return load(folder, device="cpu")


@pytest.fixture(scope="module")
def evaluation(predictor: Predictor) -> Labelled:
    """60 images of which the network classifies nine in ten correctly."""
    pixels = images(60, seed=7)
    labels = predictor.logits(pixels).argmax(dim=1)
    labels[::10] = (labels[::10] + 1) % len(CLASSES)
    return Labelled(images=pixels, labels=labels)


class Untraceable(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_tracing():
            raise KeyError("what tracing\ncannot see")
        return images.mean(dim=(2, 3))


def test_network_of_ones_own_that_cannot_be_traced_is_one_line() -> None:
    with pytest.raises(ConfigError, match="PyTorch cannot write this network as ONNX: ") as error:
        to_onnx(Untraceable(), SIZE)
    assert "\n" not in str(error.value)


class Leaving(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise SystemExit


def test_network_that_ends_the_process_as_it_is_traced_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"PyTorch cannot write this network as ONNX: it calls sys\.exit\(\)"):
        to_onnx(Leaving(), SIZE)


def test_network_with_an_operator_that_onnx_lacks_is_one_line_and_no_graph_is_printed(capfd: Any) -> None:
    convolution = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Conv2d(3, 4, 3))
    network = torch.nn.Sequential(convolution, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    with pytest.raises(ConfigError, match="PyTorch cannot write this network as ONNX: Exporting the operator") as error:
        to_onnx(network, SIZE)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


class ForTwo(torch.nn.Module):
    """Tracing sees two images, and takes their number for a constant."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3)).reshape(int(images.shape[0]), 3)


def test_network_that_is_fixed_to_a_number_of_images_is_one_line(capfd: Any) -> None:
    session = Session(to_onnx(ForTwo(), SIZE))
    assert session.run(images(2))[0].shape == (2, 3)
    with pytest.raises(ExportError, match=r"cannot run the exported file on 1 images: .*use x\.flatten") as error:
        session.run_all(images(1))
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_file_that_runs_on_no_number_of_images_is_not_said_to_be_fixed_to_one(capfd: Any) -> None:
    session = Session(to_onnx(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE**2, 2)), SIZE))
    larger = torch.zeros(8, 3, 2 * SIZE, 2 * SIZE, dtype=torch.uint8)
    with pytest.raises(ExportError, match="onnxruntime cannot run the exported file on 1 images: ") as error:
        session.run_all(larger)
    assert "flatten" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_version_of_pytorch_without_the_function_that_prints_graphs_exports_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch._C, PRINTS)
    assert Session(to_onnx(ForTwo(), SIZE)).run(images(2))[0].shape == (2, 3)
    assert not hasattr(torch._C, PRINTS)


def test_file_alone_gives_the_probabilities_and_logits_of_the_answering_head(
    tmp_path: Path, predictor: Predictor
) -> None:
    exported = export_onnx(predictor, tmp_path / "m.onnx", "float32", images(20), None)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"], "one file, and no temporary one is left"
    assert exported.reduced is None
    assert exported.difference.probabilities < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["N", 3, SIZE, SIZE])
    for count in (1, 2, 5):
        pixels = images(count, seed=count)
        probabilities, logits = session.run(["probabilities", "logits"], {"images": pixels.numpy()})
        expected = network(heads=2)(normalise(pixels))[-1].detach()
        assert logits.dtype == probabilities.dtype == np.float32
        assert np.allclose(logits, expected, atol=1e-4)
        assert np.allclose(probabilities, expected.softmax(dim=1), atol=1e-5)


def test_file_says_what_it_is(tmp_path: Path, predictor: Predictor) -> None:
    export_onnx(predictor, tmp_path / "m.onnx", "float32", images(4), None)
    proto = onnx.load(tmp_path / "m.onnx")
    about = {entry.key: entry.value for entry in proto.metadata_props}
    assert about == {**predictor.trained.metadata(), "precision": "float32"}
    assert json.loads(about["classes"]) == list(CLASSES)
    assert [each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")] == [OPSET]
    onnx.checker.check_model(proto, full_check=True)


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_smaller_numbers_answer_alike_in_a_smaller_file_and_their_cost_is_measured(
    tmp_path: Path, predictor: Predictor, evaluation: Labelled, precision: str
) -> None:
    exported = export_onnx(predictor, tmp_path / "m.onnx", precision, images(64), evaluation)
    reduced = exported.reduced
    assert reduced is not None
    assert reduced.accuracy_before == pytest.approx(0.9)
    assert reduced.accuracy_after is not None
    assert reduced.accuracy_after > 0.7
    assert reduced.evaluation_samples == 60
    assert reduced.size_ratio < 0.75
    assert reduced.latency_ratio > 0
    about = Session(tmp_path / "m.onnx").metadata
    assert (about["precision"], about["accuracy_samples"]) == (precision, "60")
    assert float(about["accuracy"]) == pytest.approx(reduced.accuracy_after, abs=1e-6)
    assert exported.difference.same_answers > 0.8


def test_file_that_does_not_do_what_the_network_does_is_not_written(
    tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.onnx").write_text("an older one")
    other = to_onnx(network(seed=1, heads=2).with_one_head(-1), SIZE)
    monkeypatch.setattr("edgekd.use.export.to_onnx", lambda network, size: other)
    with pytest.raises(ExportError, match="the exported file differs from the network by"):
        export_onnx(predictor, tmp_path / "m.onnx", "float32", images(8), None)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("m.onnx", "an older one")]


def test_answers_that_are_not_finite_are_an_error() -> None:
    model = network().with_one_head(0)
    with torch.no_grad():
        next(model.parameters()).mul_(float("inf"))
    predictor = Predictor.__new__(Predictor)
    predictor.classes = CLASSES
    with pytest.raises(ExportError, match="are not finite"):
        difference(Session(to_onnx(model, SIZE)), predictor, images(2))


@pytest.mark.parametrize(
    ("found", "rounding"),
    [((1e-6, 1e-5), True), ((0.01, 1e-5), False), ((1e-6, 0.1), False), ((float("nan"),) * 2, False)],
)
def test_only_a_difference_of_float32_is_rounding(found: tuple[float, float], rounding: bool) -> None:
    about = {"largest_logit": 9.0, "same_answers": 1.0, "images": 4}
    assert Difference(probabilities=found[0], logits=found[1], **about).is_rounding is rounding


def test_what_costs_accuracy_or_is_slower_is_warned_of() -> None:
    def reduced(after: float | None, latency: float) -> list[str]:
        before = None if after is None else 0.9
        costs = Reduced(
            accuracy_before=before, accuracy_after=after, evaluation_samples=9, latency_ratio=latency, size_ratio=0.3
        )
        return costs.warnings("int8")

    assert reduced(0.885, 0.7) == reduced(None, 0.7) == []
    assert reduced(0.85, 0.7) == ["int8 costs 0.050 of accuracy; export it without, in float32"]
    assert reduced(0.9, 2.0) == ["int8 is slower than float32 on this machine: 2.00 times the latency"]
    assert len(reduced(0.5, 2.0)) == 2


@given(
    st.floats(0.01, 100),
    st.lists(st.tuples(st.floats(1e-5, 10), st.floats(1, 1000)), min_size=1),
    st.lists(st.tuples(st.floats(1e-5, 10), st.floats(1e-5, 10))),
)
def test_ratio_of_latencies_is_that_of_most_pairs_however_slow_each_pair_and_however_odd_the_others(
    ratio: float, sound: list[tuple[float, float]], odd: list[tuple[float, float]]
) -> None:
    pairs = [(ratio * seconds * busy, seconds * busy) for seconds, busy in sound] + odd[: len(sound) - 1]
    assert paired_ratio(*zip(*pairs, strict=True)) == pytest.approx(ratio)


def test_file_that_onnxruntime_cannot_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nonsense")
    for model in (tmp_path / "m.onnx", b"nonsense"):
        with pytest.raises(ExportError, match="onnxruntime cannot read the exported file: ") as error:
            Session(model)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["onnx", "safetensors"])
def test_full_disk_is_one_line_and_changes_nothing(tmp_path: Path, predictor: Predictor, kind: str) -> None:
    resource = pytest.importorskip("resource", reason="limits the size of files, as a full disk would")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    path = tmp_path / f"m.{kind}"

    def export() -> object:
        if kind == "safetensors":
            return export_safetensors(predictor, path)
        return export_onnx(predictor, path, "float32", images(8), None)

    try:
        with pytest.raises(ConfigError, match=rf"cannot write .*m\.{kind}, .*: File too large; what was there before"):
            export()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_safetensors_fit_torchvision_and_have_the_same_metadata(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "peer", network())
    single = load(tmp_path / "peer", device="cpu")
    path = tmp_path / "w.safetensors"
    size, metadata = export_safetensors(single, path)
    assert size == path.stat().st_size
    theirs = torchvision.models.get_model(MODEL, num_classes=len(CLASSES)).eval()
    theirs.load_state_dict(load_file(path))
    pixels = normalise(images(3))
    assert torch.equal(theirs(pixels), network()(pixels)[0])
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == metadata == {**single.trained.metadata(), "precision": "float32"}


def test_noise_is_the_same_each_time() -> None:
    assert torch.equal(noise(8), noise(8))
    assert noise(8).shape == (64, 3, 8, 8)


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("onnx_camera", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("size", [(32, 32), (50, 40), (33, 71), (400, 301), (1021, 767), (20, 9)])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_example_fits_pictures_as_training_does(
    tmp_path: Path, example: Any, size: tuple[int, int], suffix: str
) -> None:
    generator = np.random.default_rng(sum(size))
    image = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    expected = fit(open_picture(tmp_path / f"a.{suffix}", SIZE), SIZE)
    assert np.array_equal(example.fit(tmp_path / f"a.{suffix}", SIZE), expected.numpy())


def test_example_takes_grey_pictures_and_palettes_too(tmp_path: Path, example: Any) -> None:
    for mode in ("L", "P", "RGBA", "LA"):
        Image.effect_noise((40, 50), 60).convert("RGB").convert(mode).save(tmp_path / "a.png")
        expected = fit(open_picture(tmp_path / "a.png", SIZE), SIZE)
        assert np.array_equal(example.fit(tmp_path / "a.png", SIZE), expected.numpy()), mode


def test_without_the_extra_onnx_files_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"pip install onnx onnxruntime; or use --format safetensors"):
        check_installed()

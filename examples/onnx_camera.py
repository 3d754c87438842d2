"""Classify the pictures of a folder with a file of `edgekd export`. It needs only onnxruntime, numpy and Pillow.

    pip install onnxruntime numpy pillow
    python onnx_camera.py model.onnx pictures/            # a line for each picture
    python onnx_camera.py model.onnx pictures/ --watch    # then also a line for each new picture
    python onnx_camera.py                                 # makes a file and pictures first: needs edgekd[export]

The pictures are resized and cropped as edgekd does it in training. The file itself normalises them.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def fit(path: Path, size: int) -> np.ndarray:
    """The picture as the file takes it, uint8 ``[3, size, size]``: upright, its shorter side resized, its centre."""
    with Image.open(path) as opened:
        opened.draft(None, (2 * size, 2 * size))  # JPEG: decodes a large photo at 1/2, 1/4 or 1/8
        image = ImageOps.exif_transpose(opened).convert("RGB")
    width, height = image.size
    short = min(width, height)
    image = image.resize((width * size // short, height * size // short), Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in image.size)
    pixels: np.ndarray = np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)
    return pixels


def load(path: str) -> tuple[onnxruntime.InferenceSession, list[str], int]:
    """The file, its class names, and the side of its images in pixels."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    return session, json.loads(about["classes"]), int(about["size"])


def pictures(folder: Path) -> dict[Path, tuple[int, int]]:
    """The pictures in a folder, each with its size and time, which change while somebody writes it."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            with contextlib.suppress(FileNotFoundError):  # it has gone since
                found[path] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


def make_file_and_pictures() -> tuple[str, Path]:
    """Train a network on digits for ten steps and export it; return that file and a folder of pictures of digits."""
    folder = Path(tempfile.mkdtemp(prefix="edgekd-onnx-camera-"))
    for command in (
        "split --limit 300 --clients 1 --iid --out shards",
        "peer --id 0 --limit 300 --clients 1 --model mobilenet_v3_small --steps 10 --threads 1 --out box",
        "export --checkpoint box -o model.onnx",
    ):
        subprocess.run([sys.executable, "-m", "edgekd", *command.split()], cwd=folder, check=True)
    return str(folder / "model.onnx"), next((folder / "shards" / "eval").iterdir())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", nargs="?", help="a file that `edgekd export` wrote")
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of pictures")
    parser.add_argument("--top", type=int, default=3, help="how many classes, likeliest first")
    parser.add_argument("--watch", action="store_true", help="then also classify new pictures")
    options = parser.parse_args()
    if options.model is None:
        options.model, options.folder = make_file_and_pictures()
    elif options.folder is None:
        parser.error("the folder of pictures is missing")
    try:
        session, classes, size = load(options.model)
    except KeyError:
        sys.exit(f"{options.model} was not written by edgekd export: its metadata name no classes")
    except Exception as error:  # onnxruntime has many kinds of errors
        sys.exit(f"cannot read {options.model}: {' '.join(str(error).split())}")
    if not options.folder.is_dir():
        sys.exit(f"there is no folder {options.folder}")
    seen: dict[Path, tuple[int, int]] = {}
    before = there = pictures(options.folder)
    if not there:
        none = f"no pictures in {options.folder}: {', '.join(sorted(SUFFIXES))} are looked for"
        if not options.watch:
            sys.exit(none)
        print(f"{none}; waiting", file=sys.stderr)
    while True:
        for path, stamp in there.items():
            if seen.get(path) == stamp or before.get(path) != stamp:  # known, or still being written
                continue
            seen[path] = stamp
            try:
                image = fit(path, size)
            except Exception as error:  # Pillow has many kinds of errors
                print(f"cannot read {path}: {error}", file=sys.stderr)
                continue
            (probabilities,) = session.run(["probabilities"], {"images": image[None]})
            best = np.argsort(-probabilities[0])[: options.top]
            print(f"{path}: " + ", ".join(f"{classes[i]} {probabilities[0][i]:.4f}" for i in best), flush=True)
        if not options.watch:
            return
        time.sleep(1)
        before, there = there, pictures(options.folder)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # nobody reads any more, as after `| head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)

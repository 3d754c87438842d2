"""The commands of docs/tutorial.md, one after another as a reader types them, with small networks and few steps."""

import re
import shlex
from pathlib import Path
from typing import Any

import drawing

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
CLASSES = ("campus", "desert", "highway", "kitchen", "laundromat", "windmill")
SMALL = ["--model", "mobilenet_v3_small", "--weights", "none", "--batch", "4", "--public-batch", "4"]


def commands(page: str) -> list[list[str]]:
    """The arguments of each ``edgekd`` command in the blocks of the page, but of those for other machines."""
    page = re.sub(r"<!-- not on one machine -->\s*```.*?```", "", page, flags=re.DOTALL)
    blocks = "".join(re.findall(r"^```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)).replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in blocks.splitlines() if line.startswith("edgekd ")]


def lay_out(folder: Path) -> None:
    """The folders of the page's section 2."""
    for number, name in enumerate(CLASSES):
        tone = 30 + 40 * number
        for box in range(3):
            for index in range(2):
                drawing.picture(folder / f"box-{box}" / name / f"{index}.png", 100 * number + 10 * box + index, tone)
        drawing.picture(folder / "eval" / name / "0.png", 1000 + number, tone)
        drawing.picture(folder / "public" / f"{number}.png", 2000 + number, tone)
        drawing.picture(folder / "new" / f"{name}.png", 3000 + number, tone)


def ended(process: Any) -> None:
    assert process.wait() == 0, (process.out, process.err)


def test_tutorial_leads_from_folders_of_pictures_to_predictions(spawn: Any, ports: Any, tmp_path: Path) -> None:
    lay_out(tmp_path)
    replaced = {f":{old}": f":{new}" for old, new in zip((7000, 7001, 7002), ports(3), strict=True)}
    alone, group, done = [], [], set()
    for verb, *arguments in commands(PAGE.read_text(encoding="utf-8")):
        for old, new in replaced.items():
            arguments = [argument.replace(old, new) for argument in arguments]
        together = "--peers" in arguments
        if verb in ("peer", "doctor"):
            steps = "0" if together else "2"  # without end, since status must find the group in training
            arguments[arguments.index("--steps") + 1] = steps
            arguments += SMALL
        if verb == "status":
            for peer in group:
                peer.until(lambda p: any("state training" in line for line in p.out))
        process = spawn(verb, *arguments)
        done.add(verb)
        if verb == "peer":
            (group if together else alone).append(process)
            continue
        while alone:
            ended(alone.pop())
        ended(process)
        if verb == "status":
            assert sum("training" in line for line in process.out) == 3, process.out
            for peer in group:
                peer.terminate()
        if verb == "predict":
            assert len(process.out) == len(CLASSES), process.out
    assert done == {"public", "certs", "doctor", "peer", "status", "eval", "predict", "export"}
    assert (tmp_path / "model.onnx").is_file()
    assert (tmp_path / "page.html").is_file()

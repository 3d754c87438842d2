"""One run of one system: its boxes, the fault, the sampling, and its rows."""

import dataclasses
import json
import shutil
import statistics
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

from race.boxes import PRIORITY, Box, Hosts, Usage
from race.curves import (
    Point,
    final_accuracy,
    first_step,
    idle_seconds,
    read_points,
    value_at,
)
from race.rows import CurvePoint, Row
from race.settings import Setting
from race.systems import SYSTEMS, Place, System
from race.task import Task
from race.venvs import REPOSITORY, InstallError, make_base, make_venv

EVERY = 0.25  # seconds between two looks at the boxes
VICTIM = 1  # the node that has the fault
RESTART_AFTER = 5.0  # seconds from the kill to the restart
USUAL = 3.0  # a gap of more than so many usual ones is idle


class Fault(Enum):
    """What happens to one of the nodes halfway; `LINKS`: to all from the start."""

    NONE = ""
    KILL = "killed"
    RESTART = "killed and restarted"
    SLOW = "slowed to a fifth"
    LINKS = "1 Mbit/s and 300 ms"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run."""

    who: str
    setting: Setting
    seed: int
    nodes: int = 3
    rate: float | None = None  # the peak learning rate; None: edgekd's default
    local_epochs: int = 1
    fault: Fault = Fault.NONE
    label: str = ""  # what distinguishes it from the core runs of this setting, besides the fault

    @property
    def shown(self) -> str:
        """The column `setting` of its rows."""
        return ", ".join(part for part in (self.setting.name, self.label, self.fault.value) if part)

    @property
    def name(self) -> str:
        """The name of its folder."""
        parts = [
            f"{self.setting.name}-{self.setting.steps}",
            self.label,
            self.fault.name.lower() if self.fault is not Fault.NONE else "",
        ]
        words = "-".join(part.replace(" ", "-") for part in parts if part)
        return f"{self.who}-{words}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """Where and how the runs are made."""

    out: Path
    venvs: Path
    cores: float  # the CPU quota of a box
    limit: float  # seconds after which a run is stopped

    def folder(self, run: Run) -> Path:
        """The folder of a run. Another CPU quota and other steps are another run."""
        return self.out / "runs" / f"{self.cores:g}-cores" / run.name

    def has(self, run: Run) -> bool:
        """Whether the result of a run is there."""
        return (self.folder(run) / "result.json").is_file()

    def result(self, run: Run) -> dict[str, Any]:
        """The rows and the curve of a run; it is made unless its result is there."""
        folder = self.folder(run)
        file = folder / "result.json"
        if not self.has(run):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            found = _make(run, self, folder)
            file.write_text(json.dumps(found, indent=1))
        read: dict[str, Any] = json.loads(file.read_text())
        return read

    def shards(self, python: Path, setting: Setting, nodes: int, seed: int) -> Path:
        """The folder of `edgekd split` for this seed, made once."""
        folder = self.out / "shards" / f"{setting.name}-{nodes}-seed{seed}"
        if not (folder / "public.safetensors").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            flags = [text for name, value in setting.data.items() for text in (f"--{name.replace('_', '-')}", value)]
            command = ["split", *flags, "--clients", nodes, "--seed", seed, "--out", folder]
            subprocess.run([python, "-m", "edgekd", *map(str, command)], check=True, cwd=REPOSITORY)
        return folder


def _make(run: Run, lab: Lab, folder: Path) -> dict[str, Any]:
    system = SYSTEMS[run.who]
    base = make_base(lab.venvs)
    try:
        python = base if system.venv == "base" else make_venv(lab.venvs, system.venv)
    except InstallError as error:
        row = Row(who=run.who, setting=run.shown, seed=run.seed, node="", note=f"not installed: {error}")
        return {"rows": [dataclasses.asdict(row)], "curve": []}
    shards = lab.shards(base, run.setting, run.nodes, run.seed)
    count = (1 if system.one_process else run.nodes) + system.coordinator
    with ExitStack() as stack:
        hosts = stack.enter_context(Hosts(count, slow_wires=run.fault is Fault.LINKS))
        boxes = []
        for number in range(count):
            boxes.append(Box(hosts, number, lab.cores))
            stack.callback(boxes[-1].close)
            if run.fault is Fault.LINKS:
                hosts.slow(number, delay=0.15, rate=1e6)
        task = _task(run, system, folder, shards, tuple(box.address for box in boxes))
        return _Watched(run, system, lab, folder, python, task, boxes).run()


def _task(run: Run, system: System, folder: Path, shards: Path, addresses: tuple[str, ...]) -> Task:
    import tomli_w

    tables = run.setting.tables(run.nodes)
    if run.rate is not None:
        tables["train"]["lr"] = run.rate
    if run.fault is not Fault.NONE:
        tables["train"]["checkpoint_every"] = run.setting.epoch(run.nodes)
    (folder / "config.toml").write_text(tomli_w.dumps(tables))
    task = Task(
        folder=str(folder),
        tables=tables,
        shards=str(shards),
        nodes=run.nodes,
        addresses=addresses,
        seed=run.seed,
        epoch=run.setting.epoch(run.nodes),
        local_epochs=run.local_epochs if system.averages else 1,
        **system.task,  # type: ignore[arg-type]
    )
    task.save(folder / "task.json")
    return task


class _Watched:
    """A run that is being watched."""

    def __init__(
        self, run: Run, system: System, lab: Lab, folder: Path, python: Path, task: Task, boxes: list[Box]
    ) -> None:
        self._run, self._system, self._lab, self._folder = run, system, lab, folder
        self._python, self._task, self._boxes = python, task, boxes
        self._nodes = 1 if system.one_process else run.nodes
        self._samples: list[list[Usage]] = [[] for _ in boxes]
        self._printed = [0] * self._nodes  # bytes that were read of what a node prints
        self._evaluated = [-1] * self._nodes
        self._fault_at: float | None = None  # seconds since the start
        self._restarted = run.fault is not Fault.RESTART
        self._began = 0.0

    def run(self) -> dict[str, Any]:
        self._began = time.time()
        for number in reversed(range(len(self._boxes))):  # a coordinator first
            self._start(number)
        while True:
            time.sleep(EVERY)
            seconds = time.time() - self._began
            running = [box.running for box in self._boxes]  # before what they wrote is read
            if self._system.prints:
                self._read_printed()
            for samples, box in zip(self._samples, self._boxes, strict=True):
                samples.append(box.usage())
            points = [read_points(self._folder / f"node-{i}.jsonl", self._began) for i in range(self._nodes)]
            self._do_fault(points, seconds)
            if self._is_over(points, running) or seconds > self._lab.limit:
                return self._found(points, seconds)

    def _start(self, number: int) -> None:
        place = Place(python=self._python, folder=self._folder, task=self._task, number=number)
        env = {
            "PYTHONPATH": f"{REPOSITORY / 'benchmarks'}:{REPOSITORY}",
            "RACE_TASK": str(self._folder / "task.json"),
            "OMP_NUM_THREADS": "1",
            "HOME": str(self._folder / f"home-{number}"),
        }
        Path(env["HOME"]).mkdir(exist_ok=True)
        out = self._folder / f"out-{number}.jsonl" if self._system.prints else None
        self._boxes[number].start(self._system.command(place), self._folder / f"log-{number}.txt", env, out)

    def _do_fault(self, points: list[list[Point]], seconds: float) -> None:
        fault = self._run.fault
        if fault in (Fault.NONE, Fault.LINKS):
            return
        victim = self._boxes[VICTIM]
        if self._fault_at is None:
            if max((point.step for point in points[VICTIM]), default=0) < self._task.steps / 2:
                return
            self._fault_at = seconds
            if fault is Fault.SLOW:
                victim.limit(self._lab.cores / 5)
            else:
                victim.kill()
        elif not self._restarted and seconds > self._fault_at + RESTART_AFTER:
            self._restarted = True
            self._start(VICTIM)

    def _counted(self) -> list[int]:
        """The nodes whose end ends the run: all but one that is killed or slowed."""
        excused = self._run.fault in (Fault.KILL, Fault.RESTART, Fault.SLOW)
        return [i for i in range(self._nodes) if not (excused and i == VICTIM)]

    def _end_of(self, points: list[Point]) -> float | None:
        """When a node had its last accuracy; None: it has not."""
        ends = [point.seconds for point in points if point.accuracy is not None and point.step >= self._task.steps]
        return ends[0] if ends else None

    def _is_over(self, points: list[list[Point]], running: list[bool]) -> bool:
        return all(self._end_of(points[i]) is not None or not running[i] for i in self._counted())

    def _read_printed(self) -> None:
        """Turn what nodes have printed since the last look into lines of their curves."""
        for i in range(self._nodes):
            with (self._folder / f"out-{i}.jsonl").open("rb") as file:
                file.seek(self._printed[i])
                text = file.read()
            text = text[: text.rfind(b"\n") + 1]
            self._printed[i] += len(text)
            for line in text.splitlines():
                read = json.loads(line)
                if read.get("event") == "progress":
                    self._note(i, read)

    def _note(self, i: int, read: dict[str, Any]) -> None:
        lines = [{"time": time.time(), "step": read["step"]}]
        if read["accuracy_step"] not in (None, self._evaluated[i]):
            self._evaluated[i] = read["accuracy_step"]
            lines.append({"time": time.time(), "step": read["accuracy_step"], "accuracy": read["accuracy"]})
        with (self._folder / f"node-{i}.jsonl").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def _found(self, points: list[list[Point]], seconds: float) -> dict[str, Any]:
        """The rows and the curve."""
        ends = [self._end_of(points[i]) for i in self._counted()]
        last = max((seconds if end is None else end for end in ends), default=seconds)
        rows, curve = [], []
        for number, samples in enumerate(self._samples):
            times = [sample.time - self._began for sample in samples]
            own = points[number] if number < self._nodes else []
            node = str(number) if number < self._nodes else "server"
            end = self._end_of(own)
            then = samples[max(0, sum(time <= last + 2 * EVERY for time in times) - 1)]
            row = Row(
                who=self._run.who,
                setting=self._run.shown,
                seed=self._run.seed,
                node=node,
                accuracy=final_accuracy(own),
                bytes=then.bytes,
                seconds=last if end is None else end,
                processor_seconds=then.processor_seconds,
                rss_mb=max(sample.memory for sample in samples) / 1e6,
                note=self._note_of(own, points, then, last, node),
            )
            rows.append(dataclasses.asdict(row))
            for point in own:
                if point.accuracy is not None:
                    found = CurvePoint(
                        who=self._run.who,
                        setting=self._run.shown,
                        seed=self._run.seed,
                        node=node,
                        step=point.step,
                        accuracy=point.accuracy,
                        seconds=point.seconds,
                        processor_seconds=value_at(
                            times, [sample.processor_seconds for sample in samples], point.seconds
                        ),
                        bytes=round(value_at(times, [sample.bytes for sample in samples], point.seconds)),
                    )
                    curve.append(dataclasses.asdict(found))
        return {"rows": rows, "curve": curve}

    def _note_of(self, own: list[Point], points: list[list[Point]], then: Usage, last: float, node: str) -> str:
        notes: dict[str, float] = {"cores": self._lab.cores, "loopback_bytes": then.loopback}
        if (shares := self._boxes[0].shares) not in (None, PRIORITY):
            notes["cpu_shares"] = float(shares or 0)  # others of this machine had the priority: not to be compared
        if node != "server":
            notes["steps"] = max((point.step for point in own), default=0)
            begun = first_step(own)
            if begun is not None:
                notes["first_step"] = round(begun, 2)
        starts = [first for each in points if (first := first_step(each)) is not None]
        if starts:
            gap = USUAL * _usual_gap(points)
            others = [points[i] for i in self._counted()]
            notes["idle"] = round(idle_seconds(others, min(starts), last, gap), 2)
            if self._fault_at is not None:
                notes["fault_at"] = round(self._fault_at, 2)
                if node == str(VICTIM):
                    notes["victim"] = 1
                notes["idle_after"] = round(idle_seconds(others, self._fault_at, last, gap), 2)
        texts = [f"{name}={value:.10g}" for name, value in notes.items()]
        if node != "server" and self._end_of(own) is None:
            texts.append(self._why_not(int(node)))
        return "; ".join(texts)

    def _why_not(self, number: int) -> str:
        """Why a node has not come to its end."""
        if self._boxes[number].running:
            return "it was still running at the end"
        lines = (self._folder / f"log-{number}.txt").read_text(errors="replace").strip().splitlines()
        return f"its process ended, with the last words: {lines[-1][:200] if lines else 'none'}"


def _usual_gap(points: list[list[Point]]) -> float:
    """The median of the seconds between two steps of a node."""
    gaps = [
        later.seconds - earlier.seconds
        for each in points
        for earlier, later in pairwise([point for point in each if point.accuracy is None])
    ]
    return max(1.0, statistics.median(gaps)) if gaps else 1.0

"""Who runs: the programs of each system, one in each box."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from race.task import Task
from race.venvs import HERE

Command = list[str]
TORCH = "pytorch/torch_node.py"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a program of a run stands."""

    python: Path  # of the system's environment
    folder: Path  # of the run; it has task.json
    task: Task
    number: int  # of the box, from 0; a coordinator's box is the last one


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """One competitor in one variant."""

    venv: str  # the folder with its requirements and its program; "base": edgekd and torch
    command: Callable[[Place], Command]
    user_writes: tuple[str, ...]  # the files whose lines a user writes, relative to this folder
    coordinator: bool = False  # whether one more box has a server
    one_process: bool = False  # whether one process has the images of all nodes
    averages: bool = True  # whether it has local epochs to choose
    task: dict[str, float | bool] = field(default_factory=dict)  # fields of `Task`
    prints: bool = False  # whether it prints its progress, as ``edgekd peer --json`` does


def _edgekd(*flags: str) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        shards, id = Path(place.task.shards), place.number
        command = [str(place.python), "-m", "edgekd", "peer", "--config", str(place.folder / "config.toml"), "--json"]
        command += ["--id", str(id), "--listen", place.task.addresses[id], "--peers", ",".join(place.task.addresses)]
        command += ["--private", f"folder:{shards / f'client-{id}' / 'private'}", "--eval", f"folder:{shards / 'eval'}"]
        command += ["--public", str(shards / "public.safetensors"), "--out", str(place.folder / f"peer-{id}")]
        command += ["--model", place.task.tables["model"]["model"]]  # a user's own network must be named by the user
        # The boxes' network can be trusted; all wait for one another at the start, as the others do.
        command += ["--insecure", "--wait-for", str(place.task.nodes), "--linger", "inf", "--resume", "--nice", "0"]
        return [*command, "--threads", "1", "--seed", str(place.task.seed), *flags]

    return command


def _program(file: str) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        return [str(place.python), str(HERE / file), str(place.folder / "task.json"), str(place.number)]

    return command


def _pooled(place: Place) -> Command:
    return [*_program(TORCH)(place)[:-1], "pooled"]


def _flower(place: Place) -> Command:
    name = "server.sh" if place.number == place.task.nodes else "node.sh"
    server = place.task.addresses[-1].partition(":")[0]
    return ["sh", str(HERE / "flower" / name), str(place.python.parent), server, str(place.number)]


def _flower_system(**task: float | bool) -> System:
    files = ("flower/flower_app.py", "flower/pyproject.toml", "flower/server.sh", "flower/node.sh")
    return System(venv="flower", command=_flower, user_writes=files, coordinator=True, task=task)


def _edgekd_system(*flags: str) -> System:
    files = ("edgekd/commands.sh",)
    return System(venv="base", command=_edgekd(*flags), user_writes=files, averages=False, prints=True)


def _torch_system(command: Callable[[Place], Command], *, one_process: bool = False, **task: float | bool) -> System:
    return System(
        venv="base", command=command, user_writes=(TORCH,), averages=False, one_process=one_process, task=task
    )


def _averaging_system(venv: str) -> System:
    file = f"{venv}/{venv}_node.py"
    return System(venv=venv, command=_program(file), user_writes=(file,))


SYSTEMS = {
    "edgekd": _edgekd_system(),
    "edgekd-zmq": _edgekd_system("--transport", "zmq"),
    "edgekd-lockstep": _edgekd_system("--sync"),
    "flower-fedavg": _flower_system(),
    "flower-fedprox": _flower_system(proximal=0.01),
    "p2pfl": _averaging_system("p2pfl"),
    "quinkgl": _averaging_system("quinkgl"),
    "alone": _torch_system(_program(TORCH)),
    "alone-balanced": _torch_system(_program(TORCH), balanced=True),
    "pooled": _torch_system(_pooled, one_process=True),
}


def lines_a_user_writes(system: System) -> int:
    """The lines of a system's program and settings, without blank ones and comments.

    `work.py`, which is the same for all, is not counted.
    """
    texts = [(HERE / file).read_text() for file in system.user_writes]
    return sum(
        bool(line.strip()) and not line.lstrip().startswith(("#", '"""')) for text in texts for line in text.split("\n")
    )

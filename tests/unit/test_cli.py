"""The command line: flags over files, help at once, names kept honest."""

import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import edgekd
from edgekd.cli import COMMANDS, cli, main
from edgekd.cli.grouped import MOST_USED, OTHER, GroupedCommand
from edgekd.cli.lines import say, say_lines, stdout_for_results
from edgekd.cli.options import settings
from edgekd.cli.tables import accuracy_text, peer_line, plain_console, print_results
from edgekd.config import SECTIONS, TITLES, Config, DataConfig, ExchangeConfig, ModelConfig, from_mapping, read_toml
from edgekd.errors import ConfigError
from edgekd.files.runs import write_config
from edgekd.files.summary import PeerSummary, Summary
from edgekd.learning.models import make_model


def parsed(*arguments: str) -> Config:
    """The settings that a command is passed for these arguments."""
    seen: list[Config] = []

    @click.command()
    @settings("data", "distill", "train", "exchange")
    def command(config: Config) -> None:
        seen.append(config)

    command.main(list(arguments), standalone_mode=False)
    return seen[0]


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[train]\nsteps = 7\nbatch = 4\n[distill]\nmeasure = "sed"\n')
    config = parsed("--config", str(file), "--steps", "9")
    assert (config.steps, config.batch, config.distill.measure) == (9, 4, "sed")


@pytest.mark.parametrize(
    ("arguments", "warns"),
    [
        (["--data", "cifar10", "--lr", "0.02"], True),
        (["--data", "cifar10", "--lr", "0.02", "--optimiser", "sgd"], False),
        (["--data", "cifar10", "--lr", "0.02", "--optimiser", "adamw"], False),
        (["--data", "cifar10"], False),
        (["--data", "digits", "--lr", "0.1"], False),
    ],
)
def test_rate_for_sgd_is_told_of_where_adamw_is_the_default(
    arguments: list[str], warns: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    parsed(*arguments)
    assert ("lr 0.02 is much for AdamW" in capsys.readouterr().err) == warns


@pytest.mark.parametrize("kind", ["iid = true", "gamma = 3.0", "dirichlet = 0.5"])
def test_kind_of_split_on_the_command_line_takes_the_place_of_the_files(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f"[data]\n{kind}\n")
    config = parsed("--config", str(file), "--gamma", "8")
    assert (config.data.iid, config.data.gamma, config.data.dirichlet) == (False, 8.0, None)


def test_section_that_is_no_table_is_a_clear_error_under_flags_too(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("train = 5\n")
    with pytest.raises(ConfigError, match=r"\[train\] must be a table"):
        parsed("--config", str(file), "--steps", "9")


def test_sync_stands_alone_or_with_seconds() -> None:
    assert parsed("--sync").exchange.sync == float("inf")
    assert parsed("--sync", "2.5").exchange.sync == 2.5
    assert parsed().exchange.sync is None


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Examples:" in result.output


def test_no_help_loads_torch() -> None:
    code = (
        "import sys; from edgekd.cli import COMMANDS, cli\n"
        "for name in [[], *([name] for name in COMMANDS)]:\n"
        "    cli([*name, '--help'], standalone_mode=False); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Commands:" in result.stdout
    assert "True" not in result.stdout.splitlines()
    assert result.stdout.splitlines().count("False") == 1 + len(COMMANDS)


def test_the_library_never_imports_the_process() -> None:
    root = Path(edgekd.__file__).parent
    assert (root.parent / "peer" / "health.py").is_file(), "another package of this name hides ours"
    for file in root.rglob("*.py"):
        if "cli" not in file.parts:
            assert "from peer" not in file.read_text(), file
            assert "import peer" not in file.read_text(), file


def test_accuracy_is_shown_with_its_standard_error() -> None:
    peer = PeerSummary(id=0, accuracy=0.9, own_accuracy=0.9, steps=1, evaluation_samples=180)
    assert accuracy_text(peer) == "0.900 ± 0.022"
    assert accuracy_text(None) == "-"


@pytest.mark.parametrize("name", ["run", "peer"])
def test_real_peers_do_not_lie_whatever_flags_or_a_file_say(tmp_path: Path, name: str) -> None:
    more = ["--id", "0"] if name == "peer" else []
    flag = CliRunner().invoke(cli, [name, *more, "--liars", "1"])
    assert flag.exit_code == 2
    assert "No such option" in flag.output
    file = tmp_path / "c.toml"
    file.write_text('[exchange]\nliars = 1\nlie = "flip"\n')
    result = CliRunner().invoke(cli, [name, *more, "--config", str(file)])
    assert isinstance(result.exception, ConfigError)
    assert "take liars out of the file" in str(result.exception)


def test_sweep_has_no_cache_since_no_cell_depends_on_one() -> None:
    assert "No such option" in CliRunner().invoke(cli, ["sweep", "--out", "x", "--cache", "y"]).output


def test_peer_that_was_stopped_before_an_evaluation_names_no_accuracy() -> None:
    peer = PeerSummary(id=0, accuracy=None, own_accuracy=None, steps=7, lessons=5, evaluation_samples=15)
    assert peer_line(peer) == "peer 0: stopped before its first evaluation, 5 lessons in 7 steps, 0 B sent"


def test_accuracy_of_an_earlier_step_is_named_with_that_step() -> None:
    peer = PeerSummary(id=0, accuracy=0.9, own_accuracy=0.9, steps=7, accuracy_step=5, evaluation_samples=180)
    assert peer_line(peer).startswith("peer 0: accuracy 0.900 ± 0.022 on 180 images at step 5, 0 lessons in 7 steps")
    for step in (7, None):
        assert "at step" not in peer_line(replace(peer, accuracy_step=step))


def test_table_names_the_peers_that_were_evaluated_before_their_last_step(capsys: Any) -> None:
    late = PeerSummary(id=0, accuracy=0.9, own_accuracy=0.9, steps=7, accuracy_step=7)
    print_results(Summary(peers=(late, replace(late, id=1, accuracy_step=5))))
    assert "\nLast evaluated before their last step: peer 1 at step 5 of 7.\n" in capsys.readouterr().out


def test_only_results_reach_stdout(capsys: Any) -> None:
    with stdout_for_results():
        print("chatter of a library")
        say("a result")
        say_lines("two\nlines")
        plain_console().print("a table")
    print("afterwards")
    said = capsys.readouterr()
    assert said.out == "a result\ntwo\nlines\na table\nafterwards\n"
    assert said.err == "chatter of a library\n"


def test_config_of_a_box_with_its_own_pictures_says_nothing_of_a_common_data_set(tmp_path: Path) -> None:
    config = Config(data=DataConfig(private="folder:pictures", public="p.safetensors", cache="kept"))
    tables = read_toml(write_config(tmp_path, config))
    assert set(tables["data"]) == {"private", "public", "cache"}
    assert from_mapping(tables).data.private == f"folder:{Path('pictures').absolute()}"
    assert from_mapping(tables).data.cache == str(Path("kept").absolute())


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors of POSIX")
def test_closed_standard_streams_are_opened_before_a_file_takes_their_place(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom edgekd.cli import main\n"
        f"try: main(['certs', '--ids', 'x', '--out', {str(tmp_path / 'keys')!r}])\nexcept SystemExit: pass\n"
        f"file = os.open({str(tmp_path / 'file')!r}, os.O_RDWR | os.O_CREAT)\n"
        "os.write(file, str(file).encode()); print('lost', file=sys.stderr); os._exit(0)"
    )
    subprocess.run(["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code], check=True, timeout=100)
    assert int((tmp_path / "file").read_text()) > 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_an_encoding_lacks_is_shown_by_its_number(encoding: str) -> None:
    code = "from edgekd.cli.lines import *; prepare_streams(); say('0.9 ± 0.1 of 猫 \\udce9')"
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, timeout=100, check=True)
    plus_minus = b"\\xb1" if encoding == "ascii" else b"\xb1"
    assert result.stdout == b"0.9 " + plus_minus + b" 0.1 of \\u732b \\udce9\n"


def test_paths_that_are_not_utf_8_and_a_home_come_back_from_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    config = Config(
        data=DataConfig(data="folder:/caf\udce9"),
        model=ModelConfig(weights="~/w.pth"),
        exchange=ExchangeConfig(topology="~/t"),
    )
    read = from_mapping(read_toml(write_config(tmp_path, config)))
    assert read.data.data == "folder:/caf\udce9"
    assert (read.model.weights, read.exchange.topology) == ("/home/somebody/w.pth", "/home/somebody/t")


def test_every_path_option_takes_the_home_folder_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell leaves it in --out=~/x."""
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = 0
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                context = click.Context(command)
                many = parameter.nargs == -1
                value = parameter.type_cast_value(context, ("~/x",) if many else "~/x")
                assert (value[0] if many else value) == tmp_path / "x", (name, parameter.name)
                seen += 1
    assert seen >= 15


def test_slip_in_the_name_of_a_command_or_a_model_gets_the_nearest_one() -> None:
    result = CliRunner().invoke(cli, ["simulte"])
    assert result.exit_code == 2
    assert "no such command 'simulte'; did you mean simulate?" in result.output
    with pytest.raises(ConfigError, match="unknown model 'resnet81'; did you mean resnet18"):
        make_model("resnet81", "none", 2, 32)


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["simulate", "--mesure", "kl"], "--measure"),
        (["simulate", "--measure", "kll"], "kl"),
        (["simulate", "--measure", "SDE"], "sed"),
        (["simulate", "--combine", "agreemnt"], "agreement"),
        (["simulate", "--data", "cifar"], "cifar10"),
        (["simulate", "--topology", "rign"], "ring"),
        (["simulate", "--encoding", "flaot16"], "float16"),
        (["simulate", "--schedule", "cosin"], "cosine"),
        (["simulate", "--preset", "ligt"], "light"),
        (["simulate", "--model", "resnet81"], "resnet18"),
        (["simulate", "--config", "slips.toml"], "temperature"),
        (["run", "--transport", "gprc"], "grpc"),
        (["run", "--device", "cdua"], "cuda"),
        (["run", "--weights", "imagnet"], "imagenet"),
        (["eval", "--checkpoint", "x", "--which", "bset"], "best"),
        (["sweep", "--out", "x", "--measure", "kl,sde"], "sed"),
        (["peer", "--id", "0", "--log-format", "jsn"], "json"),
    ],
)
def test_slip_gets_the_nearest_name(
    arguments: list[str],
    nearest: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slips.toml").write_text("[distill]\ntemprature = 2.0\n")
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code in (1, 2)
    assert re.search(rf"[Dd]id you mean '?{re.escape(nearest)}'?[?]$", capfd.readouterr().err.rstrip())


def test_known_name_that_is_wrong_for_another_reason_gets_no_advice() -> None:
    with pytest.raises(ConfigError, match=r"got top-k$"):
        ExchangeConfig(encoding="top-k")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_under_exactly_one_title(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    if not isinstance(command, GroupedCommand):
        assert len(command.params) < 25, f"{name} has many options: give it titles"
        return
    context = click.Context(command, help_option_names=["-h", "--help"])
    groups = command.groups(context)
    shown = [option for group in groups.values() for option in group]
    assert sorted(each.opts for each in shown) == sorted(each.opts for each in command.get_params(context))
    titles = list(groups)
    assert (titles[0], titles[-1]) == (MOST_USED, OTHER)
    assert set(titles[1:-1]) <= {*TITLES.values(), "Computing", "Security", "Liars"}
    for section, kind in SECTIONS.items():  # a new setting lands under its section's title by itself
        for f in fields(kind):
            title = f.metadata["group"] or TITLES[section]
            assert all(
                f.name != each.name for other in titles if other not in (MOST_USED, title) for each in groups[other]
            )


def test_help_of_a_peer_begins_with_the_ten_flags_that_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = CliRunner().invoke(cli, ["peer", "--help"]).output.splitlines()
    flags = [word for line in lines[:45] for word in re.findall(r"^  (--[a-z-]+)", line)]
    assert flags[:3] == ["--id", "--listen", "--peers"]
    needed = {"--private", "--public", "--weights", "--certs", "--wait-for", "--out", "--resume"}
    assert set(flags[3:10]) == needed


def test_default_that_a_setting_always_has_is_shown() -> None:
    for name in ("peer", "run", "sweep"):
        text = " ".join(CliRunner().invoke(cli, [name, "--help"]).output.split())
        for shown in ("[default: kl]", "[default: 0.5]", "[default: resnet18]", "[default: grpc]", "[default: 200]"):
            assert shown in text, (name, shown)


@pytest.mark.parametrize(
    "raising",
    ["cli.make_context = interrupted", "cli.get_command = ended", "_Lazy.invoke = interrupted"],
)
def test_what_click_aborts_is_one_line_and_exit_code_130(raising: str) -> None:
    """Ctrl-C where no command is called yet, and the end of an input that somebody reads."""
    script = f"""
from edgekd.cli import _Lazy, cli, main
def interrupted(*arguments, **options):
    raise KeyboardInterrupt
def ended(*arguments, **options):
    raise EOFError
{raising}
main(["status"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "edgekd: stopped")

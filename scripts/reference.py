"""Write docs/reference.md: every command with its arguments and options, made from the code.

`.venv/bin/python scripts/reference.py > docs/reference.md`; a test compares.
"""

import inspect
import re
from collections.abc import Iterator

import click

from edgekd.cli import COMMANDS, cli
from edgekd.cli.grouped import GroupedCommand
from edgekd.exit_codes import IN_SHORT

HEAD = """\
# Reference of all commands

Made from the code by `scripts/reference.py`: what each command's `--help` says, in one place. What the settings do:
[how-it-works.md](how-it-works.md), [experiments.md](experiments.md) and [operating.md](operating.md). In a file of
settings (`--config FILE.toml`) a setting has the name of its flag, with underscores for dashes.
"""
CODES = [
    "## Exit codes of `edgekd peer`",
    "",
    "Those of the other commands: [operating.md](operating.md#exit-codes).",
    "",
    "| code | meaning |",
    "| ---: | --- |",
]
FOOT = """\
How a shell completes commands, options and values: [install.md](install.md#completion-in-a-shell).
"""


def reference() -> str:
    """The page."""
    list_of_all = [f"- [`edgekd {name}`](#edgekd-{name}): {short}" for name, short in COMMANDS.items()]
    parts = [HEAD, "\n".join([*list_of_all, ""]), *("\n".join(_command(name)) for name in COMMANDS)]
    codes = [f"| {code} | {meaning} |" for code, meaning in IN_SHORT.items()]
    parts.append("\n".join([*CODES, *codes, ""]))
    return "\n".join([*parts, FOOT])


def _command(name: str) -> Iterator[str]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    context = click.Context(command, info_name=f"edgekd {name}", help_option_names=["-h", "--help"])
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    yield f"## edgekd {name}\n"
    yield f"```\nedgekd {name} [OPTIONS]{''.join(f' {_metavar(each)}' for each in arguments)}\n```\n"
    text, examples = _split_examples(inspect.cleandoc(command.help or ""), inspect.cleandoc(command.epilog or ""))
    yield f"{_plain(text)}\n"
    for title, options in _groups(command, context).items():
        yield f"### {title} (`{name}`)\n"
        yield from map(_option, options)
        yield ""
    yield f"### Examples (`{name}`)\n\n```\n{examples}\n```\n"


def _groups(command: click.Command, context: click.Context) -> dict[str, list[click.Option]]:
    if isinstance(command, GroupedCommand):
        return command.groups(context)
    return {"Options": [each for each in command.get_params(context) if isinstance(each, click.Option)]}


def _split_examples(help: str, epilog: str) -> tuple[str, str]:
    """The text of a command, as paragraphs, and its examples."""
    text, _, examples = f"{help}\n\n{epilog}".partition("\b\nExamples:\n")
    return text.strip(), inspect.cleandoc(examples.partition("\n\b\n")[0])


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len))
    value = "" if option.is_flag else f" `{_metavar(option)}`"
    help = re.sub(r"\s+", " ", option.help or "").strip()
    if option.required:
        help += " [required]"
    elif option.show_default and "default" not in help:
        help += f" [default: {option.default}]"
    return f"- {names}{value}: {_plain(help)}"


def _plain(text: str) -> str:
    """Text in which Markdown sees nothing of its own but code."""
    return re.sub(r"([*<])", r"\\\1", text)


def _metavar(parameter: click.Parameter) -> str:
    """As ``--help`` shows it, but the same with every version of click."""
    if isinstance(parameter.type, click.Choice):
        return "|".join(parameter.type.choices)
    if parameter.metavar:
        return parameter.metavar
    if isinstance(parameter, click.Argument):
        return str(parameter.name).upper() + ("..." if parameter.nargs == -1 else "")
    return {"integer range": "N", "integer": "N", "float range": "X", "float": "X"}.get(parameter.type.name, "TEXT")


if __name__ == "__main__":
    print(reference(), end="")

"""The ``edgekd`` command. Each subcommand is a file that is imported only when needed, so that ``--help`` is fast."""

import contextlib
import copy
import difflib
import errno
import importlib
import os
import signal
import sys
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from edgekd.cli.lines import prepare_streams
from edgekd.cli.logs import format_among, set_format, write_message
from edgekd.cli.signals import PAUSE, end_stopped, on_stop, stop_early
from edgekd.errors import EdgeKDError, LocalProtocolError
from edgekd.exit_codes import ExitCode
from edgekd.files.writable import in_words
from edgekd.names import with_nearest
from edgekd.printable import log_plainly, printable, typed_line
from edgekd.torch_fit import check_torch

NEAR = 0.75  # how similar, from 0 to 1, a misspelt flag must be to the one that is suggested

COMMANDS = {
    "run": "Start N peers on this machine that teach one another.",
    "peer": "Start one peer on this box.",
    "split": "Split a data set into files, one shard for each box.",
    "public": "Make the public file from unlabelled pictures.",
    "simulate": "Simulate the peers in one process.",
    "sweep": "Simulate every combination of settings; can be resumed.",
    "report": "Report the results of sweeps: page, figures, tables.",
    "status": "Ask running peers for their status.",
    "dashboard": "Show a running group on a local web page.",
    "doctor": "Check whether a peer can start here and reach its neighbours.",
    "certs": "Make the keys with which peers prove their identity.",
    "eval": "Evaluate a checkpoint.",
    "predict": "Classify pictures with a trained network.",
    "export": "Write a trained network as ONNX or safetensors.",
}


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
WRONG_PATH = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)
UNCHECKED = ("status", "dashboard", "certs", "doctor")
"""Commands before which torch is not checked: the first three do not need it, and the last reports what is wrong."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            if ctx.resilient_parsing:  # for the completion of a shell
                return None
            ctx.fail(with_nearest(f"no such command '{printable(name)}'", name, COMMANDS))
        command: click.Command = importlib.import_module(f"edgekd.cli.{name}").command
        return command if name in UNCHECKED else _checked(command)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names of commands as click does, but without importing the commands for their help texts."""
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        return [
            *(CompletionItem(name, help=COMMANDS[name]) for name in names),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would show a traceback
            end_stopped("stopped")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _checked(command: click.Command) -> click.Command:
    """The command with a check before it that torch works on this box. Otherwise it would end in a traceback, late."""

    def callback(**given: Any) -> Any:
        check_torch()
        assert command.callback is not None  # it is no group
        return command.callback(**given)

    checked = copy.copy(command)
    checked.callback = callback
    return checked


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(package_name="edgekd")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Edge boxes that teach one another to see, peer to peer: no server, no shared data, no shared weights."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: list[str] | None = None) -> Any:
    """Run the command line. A user's mistake becomes one line on stderr; a bug keeps its traceback.

    Args:
        args: the arguments; None: those of the process.

    Raises:
        SystemExit: with a code of `ExitCode`, unless it is 0.
    """
    prepare_streams()
    log_plainly()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before grpc is loaded; edgekd logs the errors that matter
    # Threads that wait for one another should sleep soon. If they spin, and other programs share the cores, they take
    # time from the very thread that they wait for, and a step takes minutes.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # before torch is loaded
    os.environ.setdefault("GRPC_DNS_RESOLVER", "native")  # gRPC's own resolver asks DNS for names in /etc/hosts, too
    given = sys.argv[1:] if args is None else args
    of_peer = given[:1] == ["peer"]
    set_format(format_among(given) if given[:1] in (["peer"], ["doctor"]) else "text")
    if of_peer:  # a peer that is stopped before it has begun has nothing to write
        on_stop(stop_early)
        PAUSE.listen()
    try:
        code = cli.main(args=args, prog_name="edgekd", standalone_mode=False)
        if isinstance(code, int):  # click returns the code of a click.exceptions.Exit
            sys.exit(code)
    except click.exceptions.Abort:  # raised by click at the end of input, or by Ctrl-C before a command is called
        with contextlib.suppress(OSError):
            write_message("INFO", "edgekd: stopped")
        sys.exit(ExitCode.STOPPED)
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption):  # click suggests unlike ones, too, and in another order
            near = difflib.get_close_matches(error.option_name, error.possibilities or (), 1, NEAR)
            error = click.NoSuchOption(error.option_name, possibilities=near, ctx=error.ctx)
        _end(error.format_message(), error.exit_code)
    except LocalProtocolError as error:
        _end_by_bug(error)
    except EdgeKDError as error:
        _end(str(error), ExitCode.TRANSIENT if _is_disk(error) else error.exit_code)
    except OSError as error:
        _end(in_words(error), ExitCode.FAILED if isinstance(error, WRONG_PATH) else ExitCode.TRANSIENT)
    except Exception as error:
        _end_by_bug(error)


def _is_disk(error: BaseException) -> bool:
    """Whether an error was caused by a disk that is full or cannot be read."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in DISK:
            return True
        cause = cause.__cause__
    return False


def _end_by_bug(error: Exception) -> NoReturn:
    _end(f"ended by a bug: {typed_line(error)}", ExitCode.BUG, error)


def _end(message: str, code: int, bug: BaseException | None = None) -> NoReturn:
    """Print why the command ends, and exit with this code, even if stderr cannot be written.

    Args:
        message: why it ends.
        code: the exit code.
        bug: the error of a bug, whose traceback is printed, too; None: it ends for another reason.
    """
    with contextlib.suppress(OSError):
        write_message("ERROR", f"edgekd: {message}", bug)
    _drop_stderr_if_broken()
    sys.exit(code)


def _drop_stderr_if_broken() -> None:
    """Replace a stderr that cannot be written: else the interpreter would fail to flush it and change the exit code."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

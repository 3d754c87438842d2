"""Worker processes end with the block, with an interrupt in it, and with their parent."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekd.workers import _undisturbed, at_once, workers

PARENT = """
import os
import time
from edgekd.workers import at_once, workers
if __name__ == "__main__":
    with workers(1) as pool:
        pool.submit(os.write, 1, b"working\\n").result()
        pool.submit(time.sleep, 1000)
        time.sleep(1000)
"""


def test_results_come_back() -> None:
    with workers(2) as pool:
        assert list(pool.map(abs, [-1, 2])) == [1, 2]
    assert multiprocessing.active_children() == []


def test_interrupt_just_after_a_job_was_given_out_ends_its_worker_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        _interrupted()
    # The pool's own thread waits for its processes too; until it has noted an end, one that has ended counts as active.
    while multiprocessing.active_children():
        assert time.monotonic() - began < 60
        time.sleep(0.01)


def _interrupted() -> None:
    with workers(2) as pool:
        pool.submit(time.sleep, 1000)
        raise KeyboardInterrupt


def test_every_request_to_stop_in_a_block_that_delays_them_is_heard_after_it() -> None:
    heard: list[int] = []

    def hear(number: int, frame: object) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, hear) for number in numbers}

    def stopped_three_times() -> None:
        with _undisturbed():
            for number in numbers:
                signal.raise_signal(number)
            assert heard == []

    try:
        with pytest.raises(KeyboardInterrupt):
            stopped_three_times()
        assert sorted(heard) == sorted(numbers)
        assert all(signal.getsignal(number) is hear for number in numbers)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


STOPPED = """
import os, signal, threading
from pathlib import Path
from edgekd.workers import workers
def stop(number, frame):
    raise KeyboardInterrupt
def stop_at_first_child(known):
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while children.read_text() == known:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    with workers(1) as pool:  # starts the resource tracker
        pool.submit(abs, 1).result()
    for _ in range(8):
        try:
            known = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
            threading.Thread(target=stop_at_first_child, args=(known,)).start()
            with workers(1) as pool:
                pool.submit(print, "working").result()
        except KeyboardInterrupt:
            pass
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for child processes in /proc")
def test_stop_while_a_worker_starts_leaves_no_error_of_the_worker(tmp_path: Path) -> None:
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for child processes in /proc")
def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"working\n"
            children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
            parent.kill()
            assert parent.stdout.read() == b""  # closed once the last of the children has ended
            deadline = time.monotonic() + 60
            while any(_runs(child) for child in children):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_workers_at_once_are_as_many_as_this_process_may_use_cores() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert at_once(1) == 1
        assert at_once(4) == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= at_once(1) <= len(before)


def test_workers_at_once_are_no_more_than_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # as `edgekd run` tells its peers
    assert at_once(1) == 1


HASTY = """
import os
from edgekd.workers import workers
if __name__ == "__main__":
    with workers(2) as pool:
        pool.submit(int).result()
        os._exit(3)
"""


def test_process_that_ends_at_once_leaves_neither_workers_nor_words(tmp_path: Path) -> None:
    script = tmp_path / "hasty.py"
    script.write_text(HASTY)
    # It waits for the last of the processes that hold stderr.
    done = subprocess.run([sys.executable, str(script)], capture_output=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"", b"")


def blocked(pid: str) -> int:
    """The signals that a process has blocked: bit N - 1 stands for signal N."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("SigBlk")).split()[1], 16)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for child processes in /proc")
def test_ctrl_c_never_reaches_a_worker_and_still_reaches_this_process() -> None:
    with workers(2) as pool:
        pool.submit(time.sleep, 0.0)
        children = multiprocessing.active_children()  # they have not come to `_begin` yet, or just now
        assert children
        for child in children:
            assert blocked(str(child.pid)) & 1 << (signal.SIGINT - 1)
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])

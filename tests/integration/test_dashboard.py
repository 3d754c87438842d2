"""The page of a live group: real peers, a real dashboard process, and what a real browser shows of them."""

import base64
import contextlib
import http.client
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import answerers
import pytest
from browsers import Tab, chromium, longest_task
from processes import DEADLINE, Process, start
from test_peers import SMALL

from edgekd.exit_codes import ExitCode

LONGEST_TASK = 1.0  # seconds of processor time: five times what a PC takes, so that a slow machine is no failure
PHONE = {"width": 390, "height": 844}
BROKEN = """
from peer.dashboard import serve
from edgekd.cli import main

class Broken(serve.Gate):
    async def __call__(self, scope, receive, send):
        if scope["type"] == "{kind}":
            if scope["type"] == "lifespan":
                await receive()
                await send({{"type": "lifespan.startup.failed", "message": "the page has a bug"}})
                return
            raise RuntimeError("the page has a bug")
        await super().__call__(scope, receive, send)

serve.Gate = Broken
main()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start `answerers.py`, until its peers listen."""
    started: list[Process] = []

    def begin(*arguments: object) -> Process:
        program = (sys.executable, answerers.__file__)
        there = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        started.append(start(arguments, tmp_path, program=program, environment=there))
        started[-1].until(lambda process: process.out)
        return started[-1]

    yield begin
    for process in started:
        process.close()


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Callable[..., tuple[Process, str]]]:
    """Start a dashboard on any free port, a process without torch as a user's is, and the address of its page."""
    pytest.importorskip("nicegui", reason="no NiceGUI: pip install 'edgekd[dashboard]'")
    started: list[Process] = []

    def begin(*arguments: object) -> tuple[Process, str]:
        started.append(start(["dashboard", *arguments, "--port", 0], tmp_path))
        return started[-1], str(started[-1].until(lambda process: process.out and process.out[0]))

    yield begin
    for process in started:
        process.close()


def get(url: str, path: str = "/", **headers: str) -> tuple[int, str]:
    """The code and the content of an answer."""
    connection = http.client.HTTPConnection(url.partition("://")[2].rstrip("/"), timeout=DEADLINE)
    try:
        connection.request("GET", path, headers={name.capitalize(): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


def test_three_real_peers_one_killed_and_restarted_one_refused(
    spawn: Any, dashboard: Any, ports: Any, tmp_path: Path, browser: Any
) -> None:
    where = [f"127.0.0.1:{port}" for port in ports(4)]

    def begin(id: int, *more: object) -> Any:
        own = ["--listen", where[id], "--peers", ",".join(where[:3]), "--out", tmp_path / f"peer-{id}"]
        every = ["--clients", 4, "--steps", 0, "--eval-every", 5, "--checkpoint-every", 5]
        return spawn("peer", "--id", id, *own, "--json", *SMALL, *every, *more)

    peers = [begin(id) for id in range(3)]
    for process in peers:
        process.until_exchanging(2)
    _, url = dashboard(where[0])  # it finds the others by itself
    tab = Tab(browser, url)
    assert tab.page.title() == "edgekd"
    tab.until("3 up")
    for id in range(3):
        tab.until(f"peer {id} answers at {where[id]}")

    begin(3, "--temperature", 4)
    tab.until("peer 0 has refused")
    assert "contract" in tab.page.locator(".log").inner_text()

    tab.row(2).click()
    tab.until("Neighbours, as it sees them")
    assert "Peer 2" in tab.page.locator(".sheet").inner_text()
    tab.page.get_by_label("close").click()

    peers[2].until_step(6)
    killed = peers[2].kill9()
    tab.until("1 gone")
    print(f"a kill was shown after {time.monotonic() - killed:.1f} s")
    assert "gone since" in tab.row(2).inner_text()
    tab.until("peer 2 is down for")

    begin(2, "--resume")
    tab.until("peer 2 was started again, at step")
    tab.until("3 up")

    points = "() => getElement(+document.querySelector('.curve').id.slice(1)).chart.getOption().series[0].data.length"
    before = tab.page.evaluate(points)
    tab.page.reload()
    tab.until("peer 2 was started again")
    tab.page.wait_for_function(f"() => ({points})() >= {before}")
    assert before > 3
    assert (tab.errors, tab.outside(url), tab.sideways(), tab.overlapping()) == ([], [], 0, [])
    tab.close()

    phone = Tab(browser, url, viewport=PHONE, color_scheme="dark")
    phone.page.wait_for_function("() => document.body.classList.contains('body--dark')")
    phone.until("3 up")
    assert (phone.errors, phone.outside(url), phone.sideways(), phone.overlapping()) == ([], [], 0, [])
    phone.close()


def test_sixty_four_peers_fit_one_page(dashboard: Any, ports: Any, answering: Any, browser: Any) -> None:
    where = ",".join(f"127.0.0.1:{port}" for port in ports(64))
    answering("grpc", where, 0, 62)
    last = answering("grpc", where, 63)
    _, url = dashboard(where.partition(",")[0])
    tab = Tab(browser, url)
    tab.until("64 up")
    tab.close()

    page = Tab(browser, "about:blank")
    browser.start_tracing(page=page.page, categories=["toplevel"])
    page.page.goto(url)
    page.until("64 up")
    page.page.wait_for_timeout(10_000)  # what is sent to it every second
    longest = longest_task(browser.stop_tracing())
    print(f"the longest task took {longest:.3f} s of processor time")
    assert longest < LONGEST_TASK
    assert (page.errors, page.outside(url), page.sideways(), page.overlapping()) == ([], [], 0, [])

    assert answerers.NASTY in page.page.locator(".peers").inner_text()  # as text
    assert page.page.locator("img").count() == 0

    killed = last.kill9()
    page.until("63 up, 1 gone")
    print(f"a kill was shown after {time.monotonic() - killed:.1f} s")


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_keys_of_an_observer_are_enough(spawn: Any, dashboard: Any, ports: Any, browser: Any, transport: str) -> None:
    assert spawn("certs", "--ids", "0,1", "--observer", "office").wait() == 0
    where = [f"{id}@127.0.0.1:{port}" for id, port in enumerate(ports(2))]
    for id in range(2):
        own = ["--listen", where[id][2:], "--peers", where[1 - id], "--certs", f"certs/peer-{id}"]
        spawn("peer", "--id", id, *own, "--transport", transport, "--json", "--steps", 0, *SMALL)
    process, url = dashboard(where[0], "--certs", "certs/observer-office", "--transport", transport)
    tab = Tab(browser, url)
    tab.until("2 up")
    assert (tab.errors, process.said) == ([], "")
    tab.close()


def test_no_other_site_sees_the_page(dashboard: Any, ports: Any, answering: Any) -> None:
    (port,) = ports(1)
    answering("zmq", f"127.0.0.1:{port}")
    process, url = dashboard(f"127.0.0.1:{port}", "--transport", "zmq")
    host = url.partition("://")[2].rstrip("/")
    assert get(url)[0] == 200
    assert get(url, host=f"evil.example:{port}")[0] == 403
    assert get(url, origin="http://evil.example")[0] == 403
    assert get(url, "/_nicegui_ws/socket.io/?EIO=4&transport=polling", origin="http://evil.example")[0] == 403
    assert get(url, origin=f"http://{host}")[0] == 200
    assert process.said == ""


def test_page_for_other_boxes_is_for_those_with_the_password(
    dashboard: Any, ports: Any, answering: Any, tmp_path: Path, browser: Any
) -> None:
    (port,) = ports(1)
    answering("zmq", f"127.0.0.1:{port}")
    (tmp_path / "password").write_text("correct horse\n")
    own = [f"127.0.0.1:{port}", "--transport", "zmq", "--host", "0.0.0.0", "--password-file", "password"]
    _, url = dashboard(*own)
    url = url.replace("0.0.0.0", "127.0.0.1")
    for headers in ({}, {"authorization": basic("wrong")}, {"authorization": "Basic ???"}, {"cookie": "edgekd=guess"}):
        code, content = get(url, **headers)
        assert (code, content) == (401, "a password is needed\n")
    assert get(url, "/_nicegui_ws/socket.io/?EIO=4&transport=polling")[0] == 401
    assert get(url, authorization=basic("correct horse"))[0] == 200
    tab = Tab(browser, url, http_credentials={"username": "me", "password": "correct horse"})
    tab.until("1 up")
    assert tab.outside(url) == []
    tab.close()


def test_browser_that_goes_away_and_ctrl_c_leave_no_traceback(dashboard: Any, ports: Any, browser: Any) -> None:
    process, url = dashboard(f"127.0.0.1:{ports(1)[0]}")
    tab = Tab(browser, url)
    tab.until("cannot reach")
    hasty = Tab(browser, url)
    hasty.close()
    tab.close()
    other = Tab(browser, url)
    other.until("cannot reach")
    process.send_signal(signal.SIGINT)
    assert process.wait() == ExitCode.STOPPED
    assert process.said == "edgekd: stopped"
    other.close()


def test_mistakes_are_one_line_and_an_exit_code(spawn: Any, ports: Any, tmp_path: Path) -> None:
    pytest.importorskip("nicegui", reason="no NiceGUI: pip install 'edgekd[dashboard]'")
    (tmp_path / "empty").write_text("")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cases = [
            (["127.0.0.1:7000", "--port", taken.getsockname()[1]], ExitCode.TRANSIENT, "Address already in use"),
            (["127.0.0.1"], ExitCode.FAILED, "an address is HOST:PORT"),
            (["127.0.0.1:7000", "--host", "0.0.0.0"], ExitCode.FAILED, "shows the group to other boxes"),
            (["127.0.0.1:7000", "--host", "a b"], ExitCode.FAILED, "--host takes a name or an address"),
            (["127.0.0.1:7000", "--password-file", "empty"], ExitCode.FAILED, "it is empty"),
            (["127.0.0.1:7000", "--password-file", "binary"], ExitCode.FAILED, "no text in UTF-8"),
            (["0@127.0.0.1:7000", "--port", 0, "--certs", "none"], ExitCode.FAILED, "none"),
            (["127.0.0.1:7000", "--password-file", "none"], ExitCode.FAILED, "none"),
            ([], ExitCode.USAGE, "Missing argument"),
        ]
        for arguments, code, words in cases:
            process = spawn("dashboard", *arguments)
            assert process.wait() == code, (arguments, process.said)
            assert words in process.said
            assert (process.out, len(process.err)) == ([], 1)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from edgekd.cli import main

    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(SystemExit) as ended:
        main(["dashboard", "127.0.0.1:7000"])
    assert ended.value.code == ExitCode.FAILED
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "edgekd: the dashboard needs NiceGUI: pip install 'edgekd[dashboard]'\n")


@pytest.mark.parametrize("kind", ["http", "lifespan"])
def test_bug_of_the_page_is_seen(kind: str, ports: Any, tmp_path: Path) -> None:
    pytest.importorskip("nicegui", reason="no NiceGUI: pip install 'edgekd[dashboard]'")
    program = (sys.executable, "-c", BROKEN.format(kind=kind))
    process = start(["dashboard", f"127.0.0.1:{ports(1)[0]}", "--port", 0], tmp_path, program=program)
    try:
        if kind == "http":
            url = str(process.until(lambda process: process.out and process.out[0]))
            assert get(url)[0] == 500
            process.until_says("the page has a bug")
            process.send_signal(signal.SIGINT)
            assert process.wait() == ExitCode.STOPPED
        else:
            assert process.wait() == ExitCode.BUG
            assert "Application startup failed" in process.said
            assert "the server of the page has ended by itself" in process.said
    finally:
        process.close()


def test_run_shows_its_peers_on_a_page(spawn: Any, tmp_path: Path) -> None:
    pytest.importorskip("nicegui", reason="no NiceGUI: pip install 'edgekd[dashboard]'")
    run = spawn("run", "--dashboard", "--clients", 2, *SMALL, "--steps", 0, "--out", tmp_path / "run", forked_peers=2)
    run.until_says("the peers are shown at http://127.0.0.1:")
    line = next(line for line in run.err if "shown at" in line)
    url = line.rpartition(" ")[2]
    assert "<title>edgekd</title>" in get(url)[1]
    run.until(lambda process: any("step 2" in text for text in process.out))
    run.send_signal(signal.SIGINT)
    assert run.wait() == 0, run.said
    with pytest.raises(OSError):  # noqa: PT011 (refused, or reset)
        get(url)


def test_run_on_a_terminal_says_how_to_see_its_peers(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edgekd", "run", "--clients", "2", *map(str, SMALL), "--steps", "0"]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, start_new_session=True)
    os.close(theirs)
    said = ""
    try:
        deadline = time.monotonic() + DEADLINE
        while "edgekd dashboard 127.0.0.1:" not in said:
            left = deadline - time.monotonic()
            assert select.select([ours], [], [], max(0.0, left))[0], said
            said += os.read(ours, 4096).decode(errors="replace")
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(OSError):  # its end
            while os.read(ours, 4096):
                pass
        child.wait(DEADLINE)
        os.close(ours)
    assert "to see the peers in a browser: edgekd dashboard 127.0.0.1:" in " ".join(said.split())

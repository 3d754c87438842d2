"""Discovery begins or says why it does not; what strangers announce is the concern of `test_announcements.py`."""

import subprocess
import sys

DEADLINE = 60.0  # seconds

WITHOUT_FILES = """
import resource
from peer.network.discovery import Discovery
from edgekd.protocol.messages import Contract, Hello

contract = Contract(
    public_sha256="ab" * 32, public_batch=4, classes=3, heads=1, temperature=1.0, augment="crop", mode="async"
)
hello = Hello(
    major=1, minor=0, id=0, instance=1, contract=contract, encodings=(), newest_round=-1, address=""
)
discovery = Discovery(hello, "", dial=lambda address, id: None, forget=lambda address: None)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
discovery.start()
discovery.stop()
print("goes on")
"""


def test_without_a_file_for_its_loop_discovery_says_so_and_holds_nobody_up() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FILES], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.stdout == "goes on\n", done.stderr
    assert "discovery does not work here: Too many open files; addresses in --peers work all the same" in done.stderr

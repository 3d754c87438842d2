"""The committed code in peer/wire/ is what proto/edgekd/v1/peer.proto generates."""

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = "1.70.0"  # the version whose output imports on the oldest protobuf that is supported
FILES = ("peer_pb2.py", "peer_pb2.pyi", "peer_pb2_grpc.py")


def test_regenerating_the_wire_code_changes_nothing(tmp_path: Path) -> None:
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip(f"grpcio-tools is not installed; pip install grpcio-tools=={TOOLS}")
    if (version := importlib.metadata.version("grpcio-tools")) != TOOLS:
        pytest.skip(f"grpcio-tools {version} generates other code than {TOOLS}")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Ipeer/wire=proto/edgekd/v1", "peer/wire/peer.proto"]
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([*command, *outputs], cwd=ROOT, check=True)
    for name in FILES:
        assert (tmp_path / "peer/wire" / name).read_text() == (ROOT / "peer/wire" / name).read_text(), name


def test_the_wire_code_was_generated_with_the_version_that_the_proto_names() -> None:
    assert f"GRPC_GENERATED_VERSION = '{TOOLS}'" in (ROOT / "peer/wire/peer_pb2_grpc.py").read_text()
    assert f"grpcio-tools {TOOLS}" in (ROOT / "proto/edgekd/v1/peer.proto").read_text()

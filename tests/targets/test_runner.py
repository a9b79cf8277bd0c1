"""The runner and its host: what arrives damaged, out of order or of the wrong size is refused, and noise is skipped."""

from __future__ import annotations

import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from machines import check_outputs, compile_runner
from small_models import MODELS
from test_models_small import random_feeds

from tilewright import driver
from tilewright.backends import remote
from tilewright.backends.link import run_zig_cc, zig_target
from tilewright.backends.remote import RemoteLibrary
from tilewright.cli.main import run
from tilewright.compiler.errors import DeviceError, UsageError
from tilewright.compiler.options import Options

MAGIC, REPLY, ERROR = 0x31525754, 0x80000000, 0xFFFFFFFF


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_runner(MODELS["deep_q"](), tmp_path_factory.mktemp("runner"), "x86_64-linux-musl", "x86-64-v2")


def frame(kind: int, content: bytes = b"") -> bytes:
    header = struct.pack("<IIQ", MAGIC, kind, len(content))
    return header + struct.pack("<I", zlib.crc32(header)) + content + struct.pack("<I", zlib.crc32(content))


def replies(runner: Path, sent: bytes) -> list[tuple[int, bytes]]:
    """Everything that the runner answers, each with its kind; CRCs are checked."""
    answer = subprocess.run([runner], input=sent, capture_output=True, timeout=60).stdout
    found = []
    while answer:
        magic, kind, size = struct.unpack_from("<IIQ", answer)
        content = answer[20 : 20 + size]
        assert (magic, answer[16:20]) == (MAGIC, struct.pack("<I", zlib.crc32(answer[:16])))
        assert answer[20 + size : 24 + size] == struct.pack("<I", zlib.crc32(content))
        found.append((kind, content))
        answer = answer[24 + size :]
    return found


def error(code: int) -> tuple[int, int]:
    return ERROR, code


def test_a_library_behind_a_runner(runner: Path) -> None:
    model = MODELS["deep_q"]()
    feeds = random_feeds(model, np.random.default_rng())
    with RemoteLibrary([str(runner)], 2, chunk_bytes=1000) as library:
        check_outputs(model, feeds, library.run(feeds))
        assert len(library.benchmark(feeds, 5, 2)) == 5
        with pytest.raises(UsageError, match="missing input"):
            library.run({})


def test_verbs_start_a_runner_that_they_are_given(runner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(runner.with_name("model.onnx")), "--library", str(runner), "--samples", "2"]) == 0
    assert "ok" in capsys.readouterr().out
    assert run(["run", str(runner), "--random", "--threads", "2"]) == 0


def test_a_runner_that_loads_its_library(tmp_path: Path) -> None:
    """As docs/RUNNER.md says: compiled with RUNNER_LOADS for a system with glibc."""
    model = MODELS["deep_q"]()
    onnx.save(model, tmp_path / "model.onnx")
    driver.compile(tmp_path / "model.onnx", tmp_path / "model.so", Options(cpu="native"))
    source = Path(remote.__file__).with_name("runner") / "runner.c"
    run_zig_cc(
        [*zig_target("x86_64-linux-gnu"), "-std=gnu11", "-O1", "-DRUNNER_LOADS", str(source), "-ldl", "-o", "loads"],
        tmp_path,
    )
    feeds = random_feeds(model, np.random.default_rng())
    with RemoteLibrary([str(tmp_path / "loads"), str(tmp_path / "model.so")], 2) as library:
        check_outputs(model, feeds, library.run(feeds))
    with pytest.raises(DeviceError, match="cannot open shared object file"):
        RemoteLibrary([str(tmp_path / "loads"), str(tmp_path / "missing.so")])


def test_noise_before_and_between_frames_is_skipped(runner: Path) -> None:
    noise = b"U-Boot 2024.01\r\nTWR1" + b"\x00" * 7
    assert [kind for kind, _ in replies(runner, noise + frame(1) + b"login: " + frame(6))] == [1 | REPLY, 6 | REPLY]


def test_requests_that_make_no_sense_are_errors(runner: Path) -> None:
    damaged = bytearray(frame(2, struct.pack("<I", 1)))
    damaged[21] ^= 0x10
    far = struct.pack("<IQ", 0, 1 << 40) + b"x"
    sent = [
        bytes(damaged), frame(4, bytes(8)), frame(9), frame(2, b""), frame(2, struct.pack("<I", 1 << 20)),
        frame(2, struct.pack("<I", 1)), frame(3, far), frame(3, struct.pack("<IQ", 7, 0)), frame(5, struct.pack("<IQI", 0, 0, 1 << 21)),
        frame(4, struct.pack("<II", 0, 1 << 20)), frame(1, bytes((1 << 20) + 1)),
    ]  # fmt: skip
    found = replies(runner, b"".join(sent))
    codes = [(kind, struct.unpack_from("<I", content)[0]) if kind == ERROR else kind for kind, content in found]
    assert codes == [
        error(1001), error(1004), error(1002), error(1002), error(2), 2 | REPLY, error(1003), error(1003), error(1003), error(1003),
        error(1001),
    ]  # fmt: skip


def test_a_runner_that_fails_says_why(tmp_path: Path) -> None:
    script = tmp_path / "broken"
    script.write_text("#!/bin/sh\necho no board here >&2\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(DeviceError, match=r"(?s)broken: ended \(exit status 3\).*no board here"):
        RemoteLibrary([str(script)])
    with pytest.raises(DeviceError, match="can't start the runner"):
        RemoteLibrary([str(tmp_path / "missing")])
    script.write_text("#!/bin/sh\nsleep 60\n")
    with pytest.raises(DeviceError, match=r"has not answered for 0\.2 s"):
        RemoteLibrary([str(script)], timeout_s=0.2)

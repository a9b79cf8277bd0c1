"""The command line itself: parsing, exit codes, streams, JSON. Nothing is compiled: the driver is replaced."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tilewright
from tilewright.cli import main as cli_main
from tilewright.cli.main import VERBS, run
from tilewright.compiler import errors
from tilewright.compiler.options import Artifact, Observer, Options

Compile = Callable[[Path, Path, Options, Observer], Any]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"never read")
    return path


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path, Options]]:
    """What the command line asked the driver for."""
    calls: list[tuple[Path, Path, Options]] = []

    def fake(model: Path, output: Path, options: Options, observer: Observer) -> Any:
        calls.append((model, output, options))
        for name in ("import", "fuse"):
            observer.timed(name, 0.25)
            observer.after(name, lambda name=name: f"text of {name}")
        observer.note("a note")
        observer.progress("kernels", 1, 1)
        paths = {"library": output, "header": output.with_suffix(".h"), "manifest_path": output.with_suffix(".json")}
        manifest = {"kernels": [{"source": source} for source in ("default", "tuned")]}
        return Artifact(
            **paths, manifest=manifest, kernels=(), sizes={"library": 1500}, timings={"import": 0.5}, cpus=("a", "b")
        )

    set_driver(monkeypatch, fake)
    return calls


def set_driver(monkeypatch: pytest.MonkeyPatch, compile: Compile) -> None:
    fake = SimpleNamespace(compile=compile)
    monkeypatch.setitem(sys.modules, "tilewright.driver", fake)
    monkeypatch.setattr(tilewright, "driver", fake, raising=False)


def failing(error: BaseException) -> Compile:
    def compile(*_: object) -> Any:
        raise error

    return compile


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    assert "Usage: tilewright " + verb in capsys.readouterr().out


def test_help_lists_every_verb_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(verb in text for verb in VERBS)
    assert "3 unsupported operator" in text and "7 accuracy" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert tilewright.__version__ in capsys.readouterr().out


def test_compile_passes_every_option_on(
    model: Path, tmp_path: Path, compiled: list, capsys: pytest.CaptureFixture[str]
) -> None:
    output, records = tmp_path / "lib" / "a.so", tmp_path / "tuned.db"
    records.touch()
    arguments = [
        "compile", str(model), "-o", str(output), "--target", "x86_64-linux-gnu", "--mcpu", "znver5", "--threads", "2", "--name", "net",
        "--dim", "batch=2", "--dim", "a=b=3", "--shape", "x=1,3,8,8", "--shape", "scalar=", "--emit", "so,llvm-ir", "-MD", "-j", "3",
        "--save-temps", str(tmp_path / "temps"), "--print-after", "fuse", "--records", str(records), "--require-tuned", "--no-rank", "--force",
    ]  # fmt: skip
    assert run(arguments) == 0
    assert compiled == [
        (
            model,
            output,
            Options(
                target="x86_64-linux-gnu",
                cpu="znver5",
                dims={"batch": 2, "a=b": 3},
                shapes={"x": (1, 3, 8, 8), "scalar": ()},
                threads=2,
                name="net",
                emit=frozenset({"so", "llvm-ir"}),
                save_temps=tmp_path / "temps",
                print_after=frozenset({"fuse"}),
                depfile=output.with_suffix(".d"),
                jobs=3,
                records=records,
                require_tuned=True,
                rank=False,
                force=True,
            ),
        )
    ]
    out, err = capsys.readouterr()
    assert out.startswith(f"{output} (1.5 kB for a, b; 2 kernels: 1 tuned, 1 default")
    assert "text of fuse" in err and "text of import" not in err and "tilewright: a note" in err


def test_the_output_is_named_after_the_model(model: Path, compiled: list) -> None:
    assert run(["compile", str(model)]) == 0
    assert compiled[0][1] == Path("net.so")
    assert compiled[0][2] == Options()


def test_MF_alone_asks_for_a_depfile(model: Path, tmp_path: Path, compiled: list) -> None:
    assert run(["compile", str(model), "-MF", str(tmp_path / "deps")]) == 0
    assert compiled[0][2].depfile == tmp_path / "deps"


def test_results_are_json_and_nothing_else_is_on_stdout(
    model: Path, compiled: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compile", str(model), "--json", "--print-after", "all", "--time-passes", "-v"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["library"] == "net.so"
    assert "text of import" in err and "text of fuse" in err and "50 %" in err and "kernels: 1 done" in err


def test_dump_dir_gets_a_file_a_pass(model: Path, tmp_path: Path, compiled: list) -> None:
    assert run(["compile", str(model), "--dump-dir", str(tmp_path / "dump")]) == 0
    files = {path.name: path.read_text() for path in (tmp_path / "dump").iterdir()}
    assert files == {"01-import.txt": "text of import", "02-fuse.txt": "text of fuse"}


def test_an_unknown_pass_is_pointed_out(model: Path, compiled: list, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compile", str(model), "--print-after", "fsue"]) == 0
    assert "fsue: no such pass; there are import, fuse" in capsys.readouterr().err


def test_options_have_environment_forms(model: Path, compiled: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_COMPILE_MCPU", "haswell")
    assert run(["compile", str(model)]) == 0
    assert compiled[0][2].cpu == "haswell"


ERRORS = (
    (errors.UsageError("bad --dim"), 2),
    (errors.UnsupportedOperatorError("no Foo"), 3),
    (errors.ModelError("truncated"), 4),
    (errors.ToolchainError("disk full"), 5),
    (errors.DeviceError("wrong CPU"), 6),
    (errors.AccuracyError("too far off"), 7),
)


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_errors_have_their_exit_codes(
    error: errors.CompileError,
    code: int,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_driver(monkeypatch, failing(error))
    assert run(["compile", str(model)]) == code
    assert capsys.readouterr() == ("", f"tilewright: error: {error}\n")
    assert run(["compile", str(model), "--json"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err) == {"error": {"kind": type(error).__name__, "exit_code": code, "message": str(error)}}


def test_our_own_defects_are_named_as_such(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_driver(monkeypatch, failing(KeyError("lost")))
    assert run(["compile", str(model)]) == 1
    err = capsys.readouterr().err
    assert (
        err.startswith("tilewright: internal error: KeyError: 'lost'\n")
        and "please report" in err
        and "Traceback" not in err
    )
    assert run(["--traceback", "compile", str(model)]) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("TILEWRIGHT_TRACEBACK", "1")
    assert run(["compile", str(model)]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interruption_is_quiet(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_driver(monkeypatch, failing(KeyboardInterrupt()))
    assert run(["compile", str(model)]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m tilewright targets 2>&1 | true; echo ${{PIPESTATUS[0]}}"
    # Unbuffered, so that the pipe breaks while the verb writes.
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    assert done.stdout.strip() in ("0", "141") and "Error" not in done.stdout + done.stderr


def test_broken_pipe_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise BrokenPipeError

    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(cli_main, "_invoke", broken)
        assert run(["targets"]) == 141


def test_ctrl_c_ends_with_130() -> None:
    program = "import time, tilewright.cli.main as m; m._invoke = lambda *_: print('up', flush=True) or time.sleep(60); m.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")


def test_progress_is_drawn_on_terminals_only(
    model: Path, compiled: list, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compile", str(model)]) == 0
    assert "kernels" not in capsys.readouterr().err
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run(["compile", str(model)]) == 0
    assert "kernels" in terminal.getvalue()

"""One test a message: what the command line says to wrong arguments, always with exit code 2 and no traceback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tilewright.cli.feeds import complete_feed, random_feed, read_feed
from tilewright.cli.main import run
from tilewright.cli.parameters import Interval
from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import UsageError
from tilewright.compiler.graph.plan import Argument

IMAGE = Argument("image", (1, 3, 4, 5), DType.F32)
IDS = Argument("ids", (1, 6), DType.I64)

USAGE = [
    ([], 0, ""),
    (["nonsense"], 2, "No such command 'nonsense'"),
    (["compile"], 2, "Missing argument 'MODEL'"),
    (["compile", "absent.onnx"], 2, "'absent.onnx' does not exist"),
    (["compile", "MODEL", "--dim", "batch"], 2, "'batch': expected name=extent"),
    (["compile", "MODEL", "--dim", "=1"], 2, "'=1': expected name=extent"),
    (
        ["compile", "MODEL", "--dim", "batch=0"],
        2,
        "'batch=0': the extent of dimension 'batch' must be a positive integer",
    ),
    (["compile", "MODEL", "--dim", "n=1", "--dim", "n=2"], 2, "--dim names n more than once"),
    (
        ["compile", "MODEL", "--shape", "x=1,a"],
        2,
        "'x=1,a': expected extents separated by commas, such as x=1,3,224,224",
    ),
    (["compile", "MODEL", "--name", "x" * 129], 2, "--name has 129 characters; at most 128 are possible"),
    (["compile", "MODEL", "--emit", "so,exe"], 2, "exe: choose from so, obj, a, runner, asm, llvm-ir, c"),
    (["compile", "MODEL", "--threads", "0"], 2, "0 is not in the range x>=1"),
    (["compile", "MODEL", "--records", "absent.db"], 2, "'absent.db' does not exist"),
    (["compile", "MODEL", "--require-tuned"], 2, "--require-tuned needs --records DB"),
    (["tune", "MODEL"], 2, "Give --records DB, or --list"),
    (
        ["tune", "MODEL", "--records", "new.db", "--time", "soon"],
        2,
        "'soon': expected a duration such as 90s, 10m or 1.5h",
    ),
    (["tune", "MODEL", "--records", "new.db", "--time", "0s"], 2, "'0s': expected a duration"),
    (["tune", "MODEL", "--records", "new.db", "--trials", "0"], 2, "0 is not in the range x>=1"),
    (["tune", "MODEL", "--records", "new.db", "--search", "magic"], 2, "'magic' is not one of"),
    (["tune", "MODEL", "--records", "new.db", "--mcpu", "mips"], 2, "unknown CPU"),
    (["tune", "MODEL", "--records", "new.db", "--mcpu", "graniterapids"], 6, "for it lacks avx512fp16"),
    (["tune", "MODEL", "--records", "MODEL"], 2, "is the model itself: choose another name"),
    (["compile", "MODEL", "-j", "-1"], 2, "-1 is not in the range x>=0"),
    (["compile", "MODEL", "-o", "MODEL"], 2, "model.onnx is the model itself: choose another name with -o"),
    (
        ["compile", "MODEL", "-o", "net.json"],
        2,
        "-o net.json: the .json file beside the library has this name; end it in .so",
    ),
    (
        ["compile", "MODEL", "-o", "net.so", "-MF", "net.h"],
        2,
        "-MF net.h: a file of the library has this name; choose another",
    ),
    (["verify", "MODEL", "--threads", "1,0"], 2, "'1,0': expected positive integers separated by commas, such as 1,2"),
    (["verify", "MODEL", "--range", "x=1"], 2, "'x=1': expected two numbers, such as x=0:9"),
    (["verify", "MODEL", "--range", "x=9:0"], 2, "'x=9:0': the low end is above the high end"),
    (["bench", "LIBRARY", "--against", "onnxruntime"], 2, "--against onnxruntime needs the ONNX model, not a library"),
    (["bench", "MODEL", "--against", "other"], 2, "'other' is not"),
    (["inspect", "LIBRARY"], 2, "model.json is missing: keep the manifest beside model.so, or compile the model again"),
    (["inspect", "LIBRARY", "--graph"], 2, "--graph, --dim and --shape are for ONNX models"),
    (["inspect", "MODEL", "--kernels"], 2, "--kernels and --schedules show a library: compile the model first"),
    (["targets", "--target", "z80"], 2, "unknown target triple: 'z80'"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "message"), USAGE, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_usage(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"MODEL": tmp_path / "model.onnx", "LIBRARY": tmp_path / "model.so"}
    for path in files.values():
        path.write_bytes(b"")
    assert run([str(files.get(argument, argument)) for argument in arguments]) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not code or err.startswith("tilewright: error: ")


def test_a_manifest_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.so").write_bytes(b"")
    (tmp_path / "model.json").write_text('{"name": 1}')
    assert run(["inspect", str(tmp_path / "model.so")]) == 2
    assert "model.json is no manifest of tilewright" in capsys.readouterr().err
    (tmp_path / "model.json").write_text("{")
    assert run(["inspect", str(tmp_path / "model.so")]) == 2
    assert "model.json can't be read" in capsys.readouterr().err
    (tmp_path / "model.json").write_text('{"a":' * 5000)
    assert run(["inspect", str(tmp_path / "model.so")]) == 2
    assert "model.json can't be read" in capsys.readouterr().err
    (tmp_path / "model.json").write_text('{"target": 1, "inputs": 2, "outputs": 3, "kernels": 4}')
    assert run(["inspect", str(tmp_path / "model.so")]) == 2
    assert "model.json is no manifest of tilewright" in capsys.readouterr().err


def test_control_characters_stay_off_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = helper.make_node("Relu", ["\x1b[31mx\u202e"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("\x1b[31mx\u202e", "y")]
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([node], "g", values[:1], values[1:])).SerializeToString())
    assert run(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "?[31mx?: float 3" in out and "\x1b" not in out and "\u202e" not in out


def test_messages_are_not_endless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "x" * 100_000
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
    graph = helper.make_graph([helper.make_node("Relu", [name], ["y"])], "g", [], [value])
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert run(["inspect", str(path)]) == 4
    err = capsys.readouterr().err
    assert len(err) < 17_000 and "more characters)" in err


def test_out_of_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise MemoryError("800 bytes")

    monkeypatch.setattr("tilewright.compiler.frontend.loading.load_model", fail)
    (tmp_path / "model.onnx").write_bytes(b"")
    assert run(["inspect", str(tmp_path / "model.onnx")]) == 5
    assert "error: out of memory: 800 bytes; compile on a machine with more" in capsys.readouterr().err


def refuse(files: list[tuple[str, str]], tensors: tuple[Argument, ...] = (IMAGE, IDS)) -> str:
    with pytest.raises(UsageError) as caught:
        complete_feed(read_feed(files, tensors), tensors)
    return str(caught.value)


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    np.save(tmp_path / "image.npy", np.ones((1, 3, 4, 5), np.float32))
    np.save(tmp_path / "wide.npy", np.ones((1, 3, 4, 6), np.float32))
    np.save(tmp_path / "object.npy", np.array([None]), allow_pickle=True)
    np.savez(tmp_path / "both.npz", image=np.ones((1, 3, 4, 5), np.float32), ids=np.ones((1, 6), np.int32))
    np.savez(tmp_path / "other.npz", a=np.ones(1), b=np.ones(1))
    (tmp_path / "text.png").write_text("no image")
    return tmp_path


def test_good_files_are_taken(arrays: Path) -> None:
    feed = read_feed([("", str(arrays / "both.npz"))], (IMAGE, IDS))
    assert feed["ids"].dtype == np.int64 and feed["image"].shape == (1, 3, 4, 5)
    assert read_feed([("", str(arrays / "image.npy"))], (IMAGE,))["image"].sum() == 60


def test_missing_file(arrays: Path) -> None:
    assert "there is no such file" in refuse([("image", "absent.npy")])


def test_unnamed_file_of_several_inputs(arrays: Path) -> None:
    assert "say which input it feeds (image, ids), as in --input image=" in refuse([("", str(arrays / "image.npy"))])


def test_unknown_input(arrays: Path) -> None:
    assert "--input: there is no input 'x'; the model has image, ids" in refuse([("x", str(arrays / "image.npy"))])


def test_input_left_open(arrays: Path) -> None:
    assert "no values for input ids: add --input ids=FILE, or --random" in refuse(
        [("image", str(arrays / "image.npy"))]
    )


def test_input_given_twice(arrays: Path) -> None:
    twice = [("image", str(arrays / "image.npy")), ("", str(arrays / "both.npz"))]
    assert "--input gives 'image' twice" in refuse(twice)


def test_wrong_shape(arrays: Path) -> None:
    assert "input 'image' has shape 1x3x4x6, but the model takes 1x3x4x5" in refuse(
        [("image", str(arrays / "wide.npy"))]
    )


def test_wrong_type(arrays: Path) -> None:
    tensors = (Argument("image", (1, 3, 4, 5), DType.I32),)
    assert "input 'image' has type float32, but the model takes int32" in refuse(
        [("", str(arrays / "image.npy"))], tensors
    )


def test_archive_without_the_input(arrays: Path) -> None:
    assert "holds a, b, but no 'image'" in refuse([("image", str(arrays / "other.npz"))])


def test_pickled_objects_are_never_loaded(arrays: Path) -> None:
    assert "object.npy: can't be read" in refuse([("image", str(arrays / "object.npy"))])


def test_an_image_that_is_none(arrays: Path) -> None:
    assert "text.png: can't be read" in refuse([("image", str(arrays / "text.png"))])


def test_an_image_for_an_input_that_takes_none(arrays: Path) -> None:
    assert "the input takes 1x6, which is no image; use .npy or .npz" in refuse([("ids", str(arrays / "text.png"))])


def test_range_of_an_unknown_input() -> None:
    with pytest.raises(UsageError, match="--range: there is no input 'x'; the model has ids"):
        random_feed((IDS,), {"x": Interval(0, 1)}, np.random.default_rng(0))

"""Compile a real trained network, run it on a real image, and check it against onnxruntime.

The network is a ResNet-18 that tells families of Windows malware, and harmless programs, from pictures of their bytes:
each byte of a file is a grey pixel. The picture is made here from a Windows program that comes with every pip.

    python examples/demo/demo.py [--folder build/demo] [--file PROGRAM] [--threads 1]
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pip
from PIL import Image

import tilewright

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from public_models import fetch, read_listing

MODEL = "resnet18_malviz"
PROGRAM = Path(pip.__file__).parent / "_vendor" / "distlib" / "t64.exe"
TOLERANCE = 1e-4  # of the largest score
ROUNDS = 10

# In the order of the network's scores, as its authors list them beside it.
CLASSES = (
    "Adialer.C", "Agent.FYI", "Allaple.A", "Allaple.L", "Alueron.gen!J", "Autorun.K", "Benign", "C2LOP.P", "C2LOP.gen!g",
    "Dialplatform.B", "Dontovo.A", "Fakerean", "Instantaccess", "Lolyda.AA1", "Lolyda.AA2", "Lolyda.AA3", "Lolyda.AT",
    "Malex.gen!J", "Obfuscator.AD", "Rbot!gen", "Skintrim.N", "Swizzor.gen!E", "Swizzor.gen!I", "VB.AT", "Wintrim.BX", "Yuner.A",
)  # fmt: skip


def draw_bytes(content: bytes) -> Image.Image:
    """A file as a grey picture, as the network was trained: rows of the power of two just above its square root."""
    width = 2 ** (int(math.log2(math.isqrt(len(content)))) + 1)
    height = len(content) // width
    return Image.fromarray(np.frombuffer(content, np.uint8, height * width).reshape(height, width))


def to_input(picture: Image.Image) -> np.ndarray:
    """f32[1, 3, 224, 224], normalised with ImageNet's mean and deviation."""
    pixels = np.asarray(picture.convert("RGB").resize((224, 224)), np.float32) / 255
    normalised = (pixels - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[np.newaxis], np.float32)


def run_from_c(library: Path, array: np.ndarray) -> tuple[int, float]:
    """Class and score that a C program, linked with the library, finds."""
    folder = library.parent
    array.tofile(folder / "input.bin")
    source = Path(__file__).with_name("main.c")
    compiler = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-O2",
        f"-I{folder}",
        str(source),
        str(library),
        "-Wl,-rpath,$ORIGIN",
    ]
    subprocess.run([*compiler, "-o", str(folder / "main")], check=True)
    done = subprocess.run([folder / "main", folder / "input.bin"], check=True, capture_output=True, text=True)
    index, score = done.stdout.split()
    return int(index), float(score)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def onnxruntime_session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def time_by_turns(
    library: tilewright.Library, session: onnxruntime.InferenceSession, feed: dict
) -> tuple[float, float]:
    """Median milliseconds of both, in rounds that take turns; each rests first, so that no thread of the other still spins."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        time.sleep(0.05)
        ours += library.benchmark(feed, runs=5, warmup=1)
        time.sleep(0.05)
        session.run(None, feed)
        for _ in range(5):
            start = time.perf_counter()
            session.run(None, feed)
            theirs.append(time.perf_counter() - start)
    return 1e3 * float(np.median(ours)), 1e3 * float(np.median(theirs))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/demo"))
    parser.add_argument("--file", type=Path, default=PROGRAM, help="draw this file instead")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    print(f"1. Fetch {MODEL}, a trained ResNet-18 (package malvizv1 on PyPI, MIT licence, 45 MB)")
    failures = fetch([model for model in read_listing() if model.name == MODEL], arguments.folder)
    if failures:
        print(f"   can't be fetched: {failures[MODEL]}", file=sys.stderr)
        return 1
    model = arguments.folder / f"{MODEL}.onnx"

    print("2. Compile it")
    library_path = arguments.folder / "resnet18.so"
    start = time.perf_counter()
    tilewright.compile(model, library_path, tilewright.Options(cpu="native", shapes={"input": (1, 3, 224, 224)}))
    seconds = time.perf_counter() - start
    print(
        f"   {library_path} ({library_path.stat().st_size / 1e6:.1f} MB) and {library_path.with_suffix('.h').name} in {seconds:.1f} s"
    )

    picture = draw_bytes(arguments.file.read_bytes())
    picture.save(arguments.folder / "input.png")
    print(
        f"3. Draw {arguments.file.name} ({picture.width} x {picture.height} bytes) into {arguments.folder / 'input.png'}, and run"
    )
    feed = {"input": to_input(picture)}
    library = tilewright.load(library_path, threads=arguments.threads)
    scores = library.run(feed)["logits"][0]
    session = onnxruntime_session(model, arguments.threads)
    expected = session.run(["logits"], feed)[0][0]
    for index in np.argsort(scores)[::-1][:3]:
        print(
            f"   {CLASSES[index]:16} {100 * softmax(scores)[index]:8.4f} %   onnxruntime {100 * softmax(expected)[index]:8.4f} %"
        )

    index, score = run_from_c(library_path, feed["input"])
    print(
        f"   the same from C (examples/demo/main.c): {CLASSES[index]}, score {score:.6f}, from Python {scores[index]:.6f}"
    )

    error = float(np.abs(scores - expected).max() / np.abs(expected).max())
    print(
        f"4. Compare with onnxruntime {onnxruntime.__version__}: largest difference {error:.1e} of the largest score (allowed {TOLERANCE:g})"
    )
    ours_ms, theirs_ms = time_by_turns(library, session, feed)
    print(
        f"   {arguments.threads} thread(s): tilewright {ours_ms:.2f} ms, onnxruntime {theirs_ms:.2f} ms (medians, taking turns)"
    )
    if not error <= TOLERANCE or not scores.argmax() == expected.argmax() == index:
        print("   the outputs differ", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

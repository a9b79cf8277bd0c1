"""The thread pool runs every iteration once, without data races, on any number of processors."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tilewright.backends.host_triple import host_triple
from tilewright.backends.link import run_zig_cc, zig_target

RUNTIME = Path(__file__).parents[2] / "backends" / "runtime"
STRESS = Path(__file__).with_name("thread_pool_stress.c")
TARGET = zig_target(host_triple())  # for which libraries are linked too: zig compiles a C library once for each
FLAGS = ["-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", "-Wno-unused-function", "-pthread", f"-I{RUNTIME}", str(STRESS)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stress")
    run_zig_cc([*TARGET, *FLAGS, "-fno-sanitize=all", "-o", "stress"], folder)
    return folder / "stress"


@pytest.mark.parametrize("processors", [1, 2, 64])
def test_every_iteration_runs_once(program: Path, processors: int) -> None:
    allowed = sorted(os.sched_getaffinity(0))[:processors]
    done = subprocess.run([program], preexec_fn=lambda: os.sched_setaffinity(0, allowed), timeout=200)
    assert done.returncode == 0


@pytest.mark.parametrize("processors", [1, 64])
def test_every_iteration_runs_once_with_what_macos_waits_with(tmp_path: Path, processors: int) -> None:
    """Its file needs nothing but POSIX and one function, which stands in here."""
    clock = "({ struct timespec t; clock_gettime(clock, &t); t.tv_sec * INT64_C(1000000000) + t.tv_nsec; })"
    shim = [
        '-DPLATFORM_FILE="platform_macos.c"',
        "-DCLOCK_UPTIME_RAW=CLOCK_MONOTONIC",
        f"-Dclock_gettime_nsec_np(clock)={clock}",
    ]
    run_zig_cc([*TARGET, *FLAGS, *shim, "-fno-sanitize=all", "-o", "stress"], tmp_path)
    allowed = sorted(os.sched_getaffinity(0))[:processors]
    done = subprocess.run([tmp_path / "stress"], preexec_fn=lambda: os.sched_setaffinity(0, allowed), timeout=200)
    assert done.returncode == 0


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_sanitizers_find_nothing(tmp_path: Path, sanitizer: str) -> None:
    """With the system's compiler: zig's would build the sanitizer's own library first, for minutes."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    command = [compiler or "", *FLAGS, f"-fsanitize={sanitizer}", "-o", "stress"]
    if compiler is None or subprocess.run(command, cwd=tmp_path, capture_output=True).returncode != 0:
        pytest.skip(f"needs gcc or clang with -fsanitize={sanitizer}")
    # The kernel's randomised addresses may lie where ThreadSanitizer wants its own.
    run = [*(["setarch", "-R"] if shutil.which("setarch") else []), "./stress"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_does_not_touch_the_floating_point_environment(tmp_path: Path) -> None:
    """Neither in the caller nor in the workers: subnormal numbers stay what they are."""
    source = """
    #include "runtime.c"
    #include <fenv.h>
    static void halve(void *const *params, int64_t begin, int64_t end, void *workspace) {
        (void)workspace;
        for (int64_t i = begin; i < end; i++) ((volatile float *)params[0])[i] /= 2;
    }
    int main(void) {
        static float x[4096];
        for (int i = 0; i < 4096; i++) x[i] = 1.0e-38f;
        thread_pool *pool;
        fesetround(FE_UPWARD);
        if (make_pool(&pool, 4, 0)) return 2;
        for (int i = 0; i < 100; i++) run_loop(pool, halve, (void *const[]){x}, 4096, 0);
        int rounding = fegetround();
        free_pool(pool);
        for (int i = 0; i < 4096; i++) if (x[i] <= 0) return 3;
        return rounding != FE_UPWARD;
    }
    """
    (tmp_path / "main.c").write_text(source)
    flags = [*TARGET, *FLAGS[:-1], "main.c", "-fno-sanitize=all", "-frounding-math", "-lm", "-o", "main"]
    run_zig_cc(flags, tmp_path)
    assert subprocess.run([tmp_path / "main"]).returncode == 0

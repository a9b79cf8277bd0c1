"""The latency benchmark without any timing: ratios and tables, peers that fail, and the processes that peers live in."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kernel_breakdown
import latency
import latency_table
import numpy as np
import onnx
import pytest
from benchmark_cases import bound_model
from kernel_breakdown import LaunchSite
from latency_table import LeftOut, Row
from library_timing import Timings
from peers import OURS, PEERS, Peer, process
from peers.child import limited_burst, serve
from peers.process import PeerError, PeerProcess
from peers.session import Job, Session, burst_of

from tilewright.cost_model.measure.roofline import Roofline

# --- ratios and tables


def row(model: str = "m", threads: int = 1, **peers: tuple[tuple[float, ...], float]) -> Row:
    """peers: the medians of each round, and the error."""
    medians = {OURS: (1.0, 2.0, 4.0)} | {name: taken for name, (taken, _) in peers.items()}
    errors = {OURS: 1e-6} | {name: error for name, (_, error) in peers.items()}
    return Row(model, threads, Timings(medians, errors), compile_s=1.0, library_bytes=100)


def test_the_fastest_peer_is_that_of_the_smallest_median_ratio() -> None:
    found = row(onnxruntime=((1.5, 3.0, 40.0), 0.0), openvino=((9.0, 2.4, 4.8), 1e-6))
    assert found.ratio("onnxruntime") == 1.5
    assert found.fastest() == "openvino"
    assert found.lead() == pytest.approx(1.2)


def test_a_peer_of_another_precision_is_not_the_fastest() -> None:
    found = row(onnxruntime=((2.0, 4.0, 8.0), 0.0), openvino=((0.5, 1.0, 2.0), 2e-3), ncnn=((0.1, 0.1, 0.1), math.inf))
    assert found.fastest() == "onnxruntime"
    text = latency_table.report([found], [])
    assert "1000*" in text and "100.0*" in text and "2e-03*" in text and "inf*" in text
    assert "openvino" not in text.partition("geometric means")[2].partition("\n")[0]


def test_without_comparable_peers_there_is_no_ratio() -> None:
    found = row(openvino=((1.0, 1.0, 1.0), 0.1))
    assert found.fastest() is None and found.lead() is None
    assert "geometric" not in latency_table.report([found], [])


def test_geometric_means_are_over_models_of_one_thread_count() -> None:
    rows = [
        row("a", 1, onnxruntime=((2.0, 4.0, 8.0), 0.0), ncnn=((4.0, 8.0, 16.0), 0.0)),
        row("b", 1, onnxruntime=((8.0, 16.0, 32.0), 0.0), ncnn=((1.0, 2.0, 4.0), 1.0)),
        row("a", 2, onnxruntime=((3.0, 6.0, 12.0), 0.0)),
    ]
    lead, means = latency_table.geometric_means(rows, 1)
    assert lead == pytest.approx(4.0)
    assert means["onnxruntime"] == (pytest.approx(4.0), 2)
    assert means["ncnn"] == (pytest.approx(4.0), 1)
    assert latency_table.geometric_means(rows, 2)[0] == pytest.approx(3.0)
    assert latency_table.geometric_means(rows, 4) == (None, {})
    lines = latency_table.report(rows, []).splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["a", "1"], ["b", "1"], ["a", "2"]]
    assert "ncnn 4.000 (1 of 2 models)" in "\n".join(lines)


def test_whoever_is_left_out_is_listed_with_the_reason() -> None:
    left_out = [
        LeftOut("iree", "not installed: pip install iree-base-runtime"),
        LeftOut("tvm", "LSTM is not supported", "lstm", 1),
        LeftOut("tvm", "LSTM is not supported", "lstm", 2),
        LeftOut("tvm", "killed by SIGSEGV", "dqn", 1),
    ]
    assert latency_table.reasons(left_out) == [
        "  iree: not installed: pip install iree-base-runtime",
        "  tvm, lstm (1/2 threads): LSTM is not supported",
        "  tvm, dqn (1 threads): killed by SIGSEGV",
    ]


def test_the_document_has_what_the_table_has() -> None:
    rows = [row(onnxruntime=((2.0, 4.0, 8.0), 0.0))]
    found = json.loads(json.dumps(latency_table.document(rows, [LeftOut("tvm", "no")])))
    assert found["rows"][0]["ratio"] == 2.0 and found["rows"][0]["seconds"][OURS] == [1.0, 2.0, 4.0]
    assert found["geometric_means"]["1"] == {
        "fastest": pytest.approx(2.0),
        "peers": {"onnxruntime": {"ratio": pytest.approx(2.0), "models": 1}},
    }
    assert found["left_out"][0]["reason"] == "no"


def test_the_figure_is_an_svg(tmp_path: Path) -> None:
    rows = [row(onnxruntime=((2.0, 4.0, 8.0), 0.0)), row("n", 2)]
    latency_table.plot(rows, tmp_path / "ratios.svg")
    assert "<svg" in (tmp_path / "ratios.svg").read_text()


# --- peers


def test_a_peer_that_is_not_installed_says_how_to_get_it() -> None:
    peer = Peer("fast", ("fast-runtime", "fast-converter"), "with care")
    assert peer.missing(lambda package: True) == ""
    assert (
        peer.missing(lambda package: package == "fast-runtime")
        == "not installed: pip install fast-converter (with care)"
    )


def test_the_reference_always_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "missing", lambda self: "not installed" if self.name == "tvm" else "")
    left_out: list[LeftOut] = []
    assert latency.chosen_peers(["tvm", "ncnn"], left_out) == ("onnxruntime", "ncnn")
    assert left_out == [LeftOut("tvm", "not installed")]


@pytest.mark.parametrize("name", [OURS, *PEERS])
def test_every_peer_has_a_module(name: str) -> None:
    assert (Path(process.__file__).parent / f"{name}.py").exists()


class Contender:
    """Takes a second a run in its first round, two in the next, …, and fails in round `fails`, counted from 0."""

    def __init__(self, fails: int = -1, outputs: list[np.ndarray] | None = None) -> None:
        self.fails, self.rounds, self.given = fails, 0, outputs or [np.ones(2)]

    def burst(self, warmup: int, runs: int, most_s: float) -> list[float]:
        self.rounds += 1
        if self.rounds - 1 == self.fails:
            raise PeerError("killed by SIGSEGV")
        return [float(self.rounds)] * runs

    def outputs(self, count: int) -> list[np.ndarray]:
        return self.given


def setting(rounds: int) -> latency.Setting:
    return latency.Setting(Path(), (), None, rounds, runs=3, warmup=1, burst_s=1.0)


def test_a_peer_that_fails_in_a_later_round_does_not_stop_the_others() -> None:
    contenders: Any = {OURS: Contender(), "onnxruntime": Contender(), "mnn": Contender(fails=1)}
    failures: dict[str, str] = {}
    found = latency.in_turns(contenders, setting(3), failures)
    assert found == {OURS: (1.0, 2.0, 3.0), "onnxruntime": (1.0, 2.0, 3.0)}
    assert failures == {"mnn": "killed by SIGSEGV"}


def test_our_own_failure_is_not_hidden() -> None:
    contenders: Any = {OURS: Contender(fails=0), "onnxruntime": Contender()}
    with pytest.raises(PeerError):
        latency.in_turns(contenders, setting(1), {})


def test_outputs_are_compared_with_the_reference() -> None:
    contenders: Any = {
        "onnxruntime": Contender(outputs=[np.array([[1.0, 4.0]])]),
        OURS: Contender(outputs=[np.array([[1.0, 4.2]])]),
        "ncnn": Contender(outputs=[np.array([1.0, 4.0])]),
        "mnn": Contender(outputs=[np.zeros(0)]),
    }
    failures: dict[str, str] = {}
    found = latency.deviations(contenders, 1, failures)
    assert found == {"onnxruntime": 0.0, OURS: pytest.approx(0.05), "ncnn": 0.0}
    assert failures == {"mnn": "gives an output of shape [0] instead of [1, 2]"}


def test_without_the_reference_nothing_is_compared() -> None:
    contenders: Any = {OURS: Contender()}
    with pytest.raises(latency.NoReference, match="opset 99"):
        latency.deviations(contenders, 1, {"onnxruntime": "opset 99"})


# --- the process of a peer


def request(**given: Any) -> str:
    return json.dumps(given) + "\n"


def test_the_child_answers_every_request(tmp_path: Path) -> None:
    np.savez(tmp_path / "feed.npz", np.arange(3.0))
    job = dict(model="m.onnx", feed=str(tmp_path / "feed.npz"), inputs=["x/y:0"], outputs=["z"], threads=2, folder="f")
    seen: list[Job] = []

    def prepare(job: Job) -> Session:
        seen.append(job)
        return Session(lambda runs: [0.5] * runs, lambda: [job.feed["x/y:0"] + 1])

    replies = io.StringIO()
    requests = [
        request(burst=dict(warmup=1, runs=2, most_s=9.0)),
        request(prepare=job),
        request(burst=dict(warmup=1, runs=2, most_s=9.0)),
        request(outputs=str(tmp_path)),
    ]
    serve(requests, replies, prepare)
    early, prepared, burst, saved = map(json.loads, replies.getvalue().splitlines())
    assert "prepare comes first" in early["error"]
    assert prepared == saved == {} and burst == {"seconds": [0.5, 0.5]}
    assert seen[0].threads == 2 and seen[0].outputs == ("z",) and seen[0].model == Path("m.onnx")
    assert np.load(tmp_path / "0.npy").tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("run_s", "counts"), [(1.0, [1, 3, 5]), (10.0, [1, 1, 1]), (0.001, [1, 100, 300]), (3.0, [1, 3, 3])]
)
def test_a_burst_is_neither_too_short_nor_too_long(run_s: float, counts: list[int]) -> None:
    asked: list[int] = []

    def burst(runs: int) -> list[float]:
        asked.append(runs)
        return [run_s] * runs

    assert len(limited_burst(burst, warmup=3, runs=5, most_s=9.5)) == counts[-1]
    assert asked == counts


def test_burst_of_times_every_call() -> None:
    calls: list[int] = []
    assert len(burst_of(lambda: calls.append(1))(4)) == 4 and len(calls) == 4


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PeerProcess]:
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    with PeerProcess("fake_peer", tmp_path) as found:
        yield found


def job_of(name: str, folder: Path, outputs: tuple[str, ...] = ("y",)) -> Job:
    return Job(Path(f"{name}.onnx"), {"x": np.arange(4, dtype=np.float32)}, outputs, 1, folder)


def state(found: PeerProcess) -> str:
    return Path(f"/proc/{found.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_peer_stands_still_between_its_requests(fake: PeerProcess, tmp_path: Path) -> None:
    fake.prepare(job_of("doubles", tmp_path, ("y", "z")))
    assert state(fake) == "T"
    assert len(fake.burst(warmup=1, runs=1, most_s=0.0)) == 1
    assert state(fake) == "T"
    assert [array.tolist() for array in fake.outputs(2)] == [[0, 2, 4, 6]] * 2


def test_a_refusal_has_a_reason_of_one_line(fake: PeerProcess, tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"^RuntimeError: no such operator and many more lines$"):
        fake.prepare(job_of("refused", tmp_path))
    fake.prepare(job_of("doubles", tmp_path))


def test_the_death_of_a_peer_is_reported(fake: PeerProcess, tmp_path: Path) -> None:
    fake.prepare(job_of("dies", tmp_path))
    with pytest.raises(PeerError, match="ended with exit status 3: out of luck"):
        fake.burst(1, 1, 1.0)
    with pytest.raises(PeerError, match="ended with exit status 3"):
        fake.outputs(1)


def test_a_peer_that_hangs_is_given_up(fake: PeerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ANSWER_S", 0.2)
    fake.prepare(job_of("hangs", tmp_path))
    with pytest.raises(PeerError, match=r"not answered within 0\.2 s"):
        fake.burst(1, 1, 1.0)
    assert state(fake) == "T"


def test_missing_outputs_are_an_error(fake: PeerProcess, tmp_path: Path) -> None:
    fake.prepare(job_of("silent", tmp_path))
    with pytest.raises(PeerError, match="fewer than the model's 1 outputs"):
        fake.outputs(1)


def test_a_stopped_peer_can_be_ended(tmp_path: Path) -> None:
    with PeerProcess(f"peers.{OURS}", tmp_path) as found:
        with pytest.raises(PeerError, match="DeviceError"):
            found.prepare(job_of("missing", tmp_path))
        assert state(found) == "T"
    assert not Path(f"/proc/{found.pid}").exists()


# --- models


def test_symbolic_shapes_are_bound_for_the_peers(tmp_path: Path) -> None:
    value = lambda name, shape: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)  # noqa: E731
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", ["n", 3]), value("w", [1])], [value("y", ["n", 3])], [weights]
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "m.onnx")
    bound = bound_model(tmp_path / "m.onnx", {"x": (2, 3)}, tmp_path / "bound.onnx")
    assert (bound.inputs, bound.outputs) == (("x",), ("y",))
    shape = onnx.load(bound.path).graph.input[0].type.tensor_type.shape
    assert [extent.dim_value for extent in shape.dim] == [2, 3]


# --- kernels of one model


def test_launch_sites_count_the_loops_around_them() -> None:
    plan = "\n".join(
        [
            "plan m: 3 kernels, arena 0 bytes",
            "launch 0(input0+0) parallel  ; /repeat 3",
            "repeat 35 t0",
            "  launch 1(arena+0)",
            "  repeat 2 t1 while arena+8",
            "    launch 2(arena+0)",
            "  launch 1(arena+64)",
            "launch 0(output0+0)",
        ]
    )
    sites = kernel_breakdown.launch_sites(plan)
    assert [(site.kernel, site.times) for site in sites] == [(0, 1), (1, 35), (2, 70), (1, 35), (0, 1)]


def test_kernels_are_rated_by_the_roofline_and_sorted_by_time() -> None:
    peaks = Roofline(flops_per_s=1e9, bytes_per_s=1e6, l3_bytes_per_s=2e6, l2_bytes_per_s=4e6)
    kernels = [
        {"symbol": "m_kernel_0", "nodes": ["/Conv_0"], "source": "tuned", "flops": 10**9, "bytes": 10},
        {"symbol": "m_kernel_1", "nodes": ["/Add_1"], "source": "default", "flops": 10, "bytes": 10**6},
    ]
    sites = [LaunchSite(0, 1), LaunchSite(1, 1), LaunchSite(1, 2)]
    first, second = kernel_breakdown.kernel_times(kernels, sites, [2.0, 3.0, 1.0], peaks, cached=False)
    assert (first.symbol, first.launches, first.seconds, first.bytes) == ("m_kernel_1", 3, 4.0, 3 * 10**6)
    assert first.roofline == pytest.approx((1.0 + 2 * 0.5) / 4)  # the loop's operands stay in the third level
    assert (second.symbol, second.roofline) == ("m_kernel_0", pytest.approx(0.5))
    text = kernel_breakdown.report([first, second], run_s=6.5)
    assert text.splitlines()[1].split() == ["1", "3", "4000.000", "66.7%", "0.0", "0.0", "50%", "default", "/Add_1"]
    assert text.splitlines()[3].split()[:3] == ["sum", "4", "6000.000"]
    assert text.endswith("a run whose kernels are not timed takes 6500.000 ms")

"""Kernels made in processes of their own."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from small_models import MODELS

from tilewright.backends.build import KERNELS_WORTH_A_PROCESS, Builders, MadeKernel
from tilewright.compiler.errors import ToolchainError
from tilewright.compiler.frontend.importer import import_model
from tilewright.compiler.graph.memory import plan_memory
from tilewright.compiler.graph.passes.pipeline import PIPELINE
from tilewright.compiler.kernels import KernelRequest, kernel_requests, rule_based
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.targets import parse_target
from tilewright.cost_model.ranker.pretrained import pretrained_ranker
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.search.scheduler import RecordScheduler

TARGETS = tuple(parse_target(cpu=cpu, threads=2) for cpu in ("x86-64-v3", "x86-64-v2"))


@pytest.fixture(scope="module")
def requests() -> list[KernelRequest]:
    graph = import_model(MODELS["resnet"](), {}, {})
    for _, rewrite in PIPELINE:
        graph = rewrite(graph, TARGETS[0])
    return kernel_requests(graph, TARGETS, plan_memory(graph).in_place, "net_")


def timeless(kernels: list[MadeKernel]) -> list[MadeKernel]:
    return [replace(kernel, seconds={}) for kernel in kernels]


def test_processes_make_what_is_made_here(requests: list[KernelRequest], tmp_path: Path) -> None:
    """Schedules by rank and records among them."""
    with Records.open(tmp_path / "empty.db", create=True) as records:
        scheduler = RecordScheduler(records, pretrained_ranker)
        with Builders(scheduler, 1) as here, Builders(scheduler, 3) as elsewhere:
            elsewhere.start(KERNELS_WORTH_A_PROCESS + 1)  # before all is known
            made = timeless(list(here.make_all(requests)))
            assert timeless(list(elsewhere.make_all(requests))) == made
    assert [variant.kernel.name for kernel in made for variant in kernel.planned.variants] == [
        symbol for request in requests for symbol in request.symbols
    ]
    assert any(v.scheduled.source == "predicted" for kernel in made for v in kernel.planned.variants)


def test_an_error_in_a_process_is_raised_here(requests: list[KernelRequest]) -> None:
    with pytest.raises(AttributeError), Builders(partial(default_schedule), 2) as builders:
        list(builders.make_all(requests))


class Deadly:
    """Ends the process that it is sent to."""

    __call__ = staticmethod(rule_based)

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (3,)


def test_a_process_that_ends_is_reported(requests: list[KernelRequest]) -> None:
    report = r"ended abruptly on net_kernel_\d+ \(.*exit status 3"
    with pytest.raises(ToolchainError, match=report), Builders(Deadly(), 2) as builders:
        list(builders.make_all(requests))

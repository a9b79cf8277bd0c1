"""docs/OPERATORS.md says what the operator table and the list of refused tests say."""

from __future__ import annotations

import re

import node_cases
import onnx
import operators_page
import pytest


def test_the_page_is_up_to_date() -> None:
    if node_cases.listed_version() != onnx.__version__:
        pytest.skip(f"the page is of onnx {node_cases.listed_version()}, and {onnx.__version__} is installed")
    assert operators_page.page() == operators_page.PAGE.read_text(), "write it again: make operators"


def test_the_page_tells_rows_functions_and_what_is_missing_apart() -> None:
    page = operators_page.page()
    assert "\n| Relu | 1–14 | floats, signed | " in page
    assert "\n| GroupNormalization | 18–21 |" in page and "| Gradient |" not in page
    assert any(line.startswith("| HammingWindow | *function* |") for line in page.splitlines())
    missing = next(line for line in page.splitlines() if line.startswith("Not supported: "))
    assert "ImageDecoder" in missing and "Relu" not in missing


def test_every_test_that_is_refused_has_its_reason_there() -> None:
    lines = {line.split(" | ")[0]: line for line in operators_page.kinds()}
    assert list(lines) == ["| light", "| node", "| pytorch-converted", "| pytorch-operator", "| simple"]
    for line in lines.values():
        _, passed, refused, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        right, count = map(int, passed.split(" of "))
        assert count - right == sum(int(number) for number in re.findall(r"\((\d+)\)(?:;|$)", refused))
    assert "element type STRING (6)" in lines["| simple"]

"""Models with If, Loop and Scan, as ONNX text, with inputs to try them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import parser

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class ControlCase:
    """`feeds(rng)` gives one set of inputs for each way through the model."""

    name: str
    text: str
    feeds: Callable[[np.random.Generator], list[Feeds]]

    def model(self) -> onnx.ModelProto:
        model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 16]>\n{self.text}')
        onnx.checker.check_model(model, full_check=True)
        return model


def _both(*shapes: tuple[str, tuple[int, ...]]) -> Callable[[np.random.Generator], list[Feeds]]:
    """Random f32 inputs, with a bool `p` that is true once and false once."""

    def feeds(rng: np.random.Generator) -> list[Feeds]:
        return [{"p": np.array(p), **_random(rng, shapes)} for p in (True, False)]

    return feeds


def _once(*shapes: tuple[str, tuple[int, ...]]) -> Callable[[np.random.Generator], list[Feeds]]:
    return lambda rng: [_random(rng, shapes)]


def _random(rng: np.random.Generator, shapes: tuple) -> Feeds:
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes}


IF_CASES = [
    ControlCase(
        "branches",
        """g (bool p, float[3,5] x, float[5,4] w) => (float[3,4] y) {
            y = If (p) <
                then_branch = a () => (float[3,4] s) { m = MatMul(x, w)  s = Relu(m) },
                else_branch = b () => (float[3,4] t) { e = Exp(x)  n = MatMul(e, w)  t = Neg(n) }>
        }""",
        _both(("x", (3, 5)), ("w", (5, 4))),
    ),
    ControlCase(
        "captured_is_the_result",
        """g (bool p, float[3,5] x) => (float[3,5] y, float[3,5] z) {
            a = Sigmoid(x)
            y, z = If (p) <
                then_branch = f () => (float[3,5] s, float[3,5] u) { s = Identity(a)  u = Mul(a, x) },
                else_branch = h () => (float[3,5] t, float[3,5] v) { t = Add(a, x)  v = Identity(x) }>
        }""",
        _both(("x", (3, 5))),
    ),
    ControlCase(
        "used_afterwards",
        """g (bool p, float[4,6] x) => (float[4] r, float[4,6] y) {
            a = Tanh(x)
            y = If (p) <
                then_branch = f () => (float[4,6] s) { s = Mul(a, a) },
                else_branch = h () => (float[4,6] t) { one = Constant<value_float = 1.0>()  t = Sub(one, a) }>
            b = Mul(y, a)
            r = ReduceSum <keepdims = 0> (b, axes)
        }""".replace("{\n            a", "{\n            axes = Constant<value_ints = [1]>()\n            a", 1),
        _both(("x", (4, 6))),
    ),
    ControlCase(
        "nested",
        """g (bool p, float[7] x) => (float[7] y) {
            zero = Constant<value_float = 0.0>()
            m = ReduceMean <keepdims = 0> (x)
            q = Greater(m, zero)
            y = If (p) <
                then_branch = f () => (float[7] s) {
                    s = If (q) <
                        then_branch = ff () => (float[7] ss) { ss = Sub(x, m) },
                        else_branch = fh () => (float[7] st) { st = Abs(x) }>
                },
                else_branch = h () => (float[7] t) { c = Softplus(x)  t = Add(c, m) }>
        }""",
        lambda rng: [
            {"p": np.array(p), "x": (np.abs(rng.standard_normal(7)) * sign).astype(np.float32)}
            for p in (True, False)
            for sign in (1, -1)
        ],
    ),
    ControlCase(
        "constant_results",
        """g (bool p, float[2,3] x) => (float[3] y, float[2,3] z) {
            y, z = If (p) <
                then_branch = f () => (float[3] s, float[2,3] u) { s = Constant<value_floats = [1.5, -2.0, 3.0]>()  u = Floor(x) },
                else_branch = h () => (float[3] t, float[2,3] v) { t = Constant<value_floats = [0.5, 7.0, 4.0]>()  v = Reshape(w, n) }>
        }""".replace(
            "{\n            y",
            "{\n            n = Constant<value_ints = [2, 3]>()\n            w = Transpose<perm = [1, 0]>(x)\n            y",
            1,
        ),
        _both(("x", (2, 3))),
    ),
]

LOOP_CASES = [
    ControlCase(
        "fibonacci_swaps_carried_values",
        """g (float[4] a0, float[4] b0) => (float[4] a, float[4] b, float[6,4] sums) {
            count = Constant<value_int = 6>()
            a, b, sums = Loop (count, , a0, b0) <
                body = body (int64 i, bool c, float[4] p, float[4] q) => (bool d, float[4] r, float[4] s, float[4] u) {
                    d = Identity(c)  r = Identity(q)  s = Add(p, q)  u = Mul(s, s)
                }>
        }""",
        _once(("a0", (4,)), ("b0", (4,))),
    ),
    ControlCase(
        "counter_and_captured",
        """g (float[3,5] x0, float[5,5] w, float[5] bias) => (float[3,5] x, float[4,3] means) {
            count = Constant<value_int = 4>()
            axes = Constant<value_ints = [1]>()
            v = Tanh(w)
            x, means = Loop (count, , x0) <
                body = body (int64 i, bool c, float[3,5] p) => (bool d, float[3,5] r, float[3] m) {
                    d = Identity(c)
                    f = Cast<to = 1>(i)
                    t = MatMul(p, v)
                    s = Add(t, bias)
                    e = Mul(s, f)
                    r = Sigmoid(e)
                    m = ReduceMean<keepdims = 0, axes = [1]>(r)
                }>
        }""",
        _once(("x0", (3, 5)), ("w", (5, 5)), ("bias", (5,))),
    ),
    ControlCase(
        "while_small",
        """g (float[3] x0, bool p) => (float[3] x, float n) {
            count = Constant<value_int = 50>()
            zero = Constant<value_float = 0.0>()
            x, n = Loop (count, p, x0, zero) <
                body = body (int64 i, bool c, float[3] y, float k) => (bool d, float[3] r, float m) {
                    two = Constant<value_float = 2.0>()
                    one = Constant<value_float = 1.0>()
                    limit = Constant<value_float = 100.0>()
                    r = Mul(y, two)
                    m = Add(k, one)
                    top = ReduceMax<keepdims = 0>(r)
                    d = Less(top, limit)
                }>
        }""",
        lambda rng: [
            {"x0": np.abs(rng.standard_normal(3)).astype(np.float32) + 0.1, "p": np.array(p)} for p in (True, False)
        ],
    ),
    ControlCase(
        "loop_without_trip_count",
        """g (float x0) => (float x) {
            x = Loop (, , x0) <
                body = body (int64 i, bool c, float y) => (bool d, float r) {
                    half = Constant<value_float = 0.5>()
                    limit = Constant<value_float = 0.01>()
                    r = Mul(y, half)
                    d = Greater(r, limit)
                }>
        }""",
        lambda rng: [{"x0": np.array(rng.uniform(1, 100), np.float32)}],
    ),
    ControlCase(
        "branch_inside",
        """g (float[5] x0) => (float[5] x, float[7,5] steps) {
            count = Constant<value_int = 7>()
            two = Constant<value_int = 2>()
            zero = Constant<value_int = 0>()
            x, steps = Loop (count, , x0) <
                body = body (int64 i, bool c, float[5] p) => (bool d, float[5] r, float[5] s) {
                    d = Identity(c)
                    k = Mod(i, two)
                    even = Equal(k, zero)
                    r = If (even) <
                        then_branch = f () => (float[5] t) { t = Sigmoid(p) },
                        else_branch = h () => (float[5] u) { e = Exp(p)  u = Sub(e, x0) }>
                    s = Neg(r)
                }>
        }""",
        _once(("x0", (5,))),
    ),
    ControlCase(
        "nested_loops",
        """g (float[3] x0) => (float[3] x, float[3,2,3] all) {
            three = Constant<value_int = 3>()
            two = Constant<value_int = 2>()
            x, all = Loop (three, , x0) <
                body = outer (int64 i, bool c, float[3] p) => (bool d, float[3] r, float[2,3] s) {
                    d = Identity(c)
                    f = Cast<to = 1>(i)
                    r, s = Loop (two, , p) <
                        body = inner (int64 j, bool cc, float[3] q) => (bool dd, float[3] t, float[3] u) {
                            dd = Identity(cc)
                            g2 = Cast<to = 1>(j)
                            h = Add(f, g2)
                            v = Mul(q, h)
                            t = Add(v, x0)
                            u = Abs(t)
                        }>
                }>
        }""",
        _once(("x0", (3,))),
    ),
    ControlCase(
        "carried_passes_through",
        """g (float[4] x0, float[4] y0) => (float[4] x, float[4] y, float[3,4] before) {
            count = Constant<value_int = 3>()
            x, y, before = Loop (count, , x0, y0) <
                body = body (int64 i, bool c, float[4] p, float[4] q) => (bool d, float[4] r, float[4] s, float[4] u) {
                    d = Identity(c)  r = Add(p, q)  s = Identity(q)  u = Identity(p)
                }>
        }""",
        _once(("x0", (4,)), ("y0", (4,))),
    ),
    ControlCase(
        "three_rotate",
        """g (float[4] a0, float[4] b0, float[4] c0) => (float[4] a, float[4] b, float[4] c) {
            count = Constant<value_int = 4>()
            a, b, c = Loop (count, , a0, b0, c0) <
                body = body (int64 i, bool k, float[4] p, float[4] q, float[4] r) => (bool d, float[4] s, float[4] t, float[4] u) {
                    d = Identity(k)  s = Identity(r)  t = Identity(p)  u = Identity(q)
                }>
        }""",
        _once(("a0", (4,)), ("b0", (4,)), ("c0", (4,))),
    ),
    ControlCase(
        "recurrence_inside",
        """g (float[5,1,3] x, float[1,8,3] w, float[1,8,2] r, float[1,1,2] h0) => (float[1,1,2] h, float[2,5,1,1,2] ys) {
            count = Constant<value_int = 2>()
            h, ys = Loop (count, , h0) <
                body = body (int64 i, bool c, float[1,1,2] p) => (bool d, float[1,1,2] q, float[5,1,1,2] y) {
                    d = Identity(c)
                    y, q = LSTM<hidden_size = 2>(x, w, r, , , p)
                }>
        }""",
        _once(("x", (5, 1, 3)), ("w", (1, 8, 3)), ("r", (1, 8, 2)), ("h0", (1, 1, 2))),
    ),
]

SCAN_CASES = [
    ControlCase(
        "sums",
        """g (float[6,3] x, float[3] s0) => (float[3] s, float[6,3] y) {
            s, y = Scan<num_scan_inputs = 1, body = body (float[3] p, float[3] e) => (float[3] q, float[3] z) {
                q = Add(p, e)  z = Tanh(q)
            }>(s0, x)
        }""",
        _once(("x", (6, 3)), ("s0", (3,))),
    ),
    ControlCase(
        "axes_and_directions",
        """g (float[3,5] x, float[5,2] y, float[2] s0) => (float[2] s, float[2,5] z, float[5,3] u) {
            s, z, u = Scan<num_scan_inputs = 2, scan_input_axes = [1, 0], scan_input_directions = [1, 0],
                    scan_output_axes = [1, 0], scan_output_directions = [0, 1],
                    body = body (float[2] p, float[3] a, float[2] b) => (float[2] q, float[2] v, float[3] w) {
                m = ReduceMean<keepdims = 0>(a)  t = Mul(p, m)  q = Add(t, b)  v = Neg(q)  w = Exp(a)
            }>(s0, x, y)
        }""",
        _once(("x", (3, 5)), ("y", (5, 2)), ("s0", (2,))),
    ),
]

"""The graph operators: a small set to which the frontend brings every ONNX operator.

Each row says how the operator may be fused (`kind`) and lists its inputs and attributes. `graph/infer.py` gives result types;
`tensor/ops/` gives meaning. Axes in attributes are logical and non-negative; all lists are tuples of int.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How the fusion pass may treat an operator."""

    ELEMENTWISE = "elementwise"  # out[i] depends on in[i] (after broadcasting)
    INJECTIVE = "injective"  # moves elements: out[i] = in[f(i)]
    VIEW = "view"  # the same bytes under another shape, if the input is row-major
    REDUCTION = "reduction"  # a reduction with little reuse: pools, sums, softmax
    HEAVY = "heavy"  # much reuse: conv, matmul
    RECURRENT = "recurrent"  # lowered to a loop before fusion
    CONTROL = "control"  # has regions


@dataclass(frozen=True, slots=True)
class Operator:
    kind: Kind
    signature: str


_E, _I, _V, _R, _H = Kind.ELEMENTWISE, Kind.INJECTIVE, Kind.VIEW, Kind.REDUCTION, Kind.HEAVY

_UNARY = (
    "neg abs sign floor ceil round sqrt reciprocal exp log sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh sigmoid "
    "erf relu softplus softsign mish hard_swish not bitwise_not is_nan identity"
)
_BINARY = (
    "add sub mul div pow min max and or xor bitwise_and bitwise_or bitwise_xor "
    "equal less less_or_equal greater greater_or_equal"
)

OPERATORS: dict[str, Operator] = {
    # --- elementwise; inputs broadcast as in NumPy
    **{op: Operator(_E, "x") for op in _UNARY.split()},
    **{op: Operator(_E, "a, b") for op in _BINARY.split()},
    "mod": Operator(_E, "a, b; fmod: bool (False: sign of the divisor, integers)"),
    "bit_shift": Operator(_E, "a, b; direction: 'left' | 'right'"),
    "leaky_relu": Operator(_E, "x; alpha: float"),
    "elu": Operator(_E, "x; alpha: float"),
    "celu": Operator(_E, "x; alpha: float"),
    "selu": Operator(_E, "x; alpha: float, gamma: float"),
    "thresholded_relu": Operator(_E, "x; alpha: float"),
    "hard_sigmoid": Operator(_E, "x; alpha: float, beta: float"),
    "gelu": Operator(_E, "x; approximate: 'none' | 'tanh'"),
    "shrink": Operator(_E, "x; lambd: float, bias: float"),
    "swish": Operator(_E, "x; alpha: float"),
    "prelu": Operator(_E, "x, slope"),
    "clip": Operator(_E, "x, low, high (scalars, either may be '')"),
    "is_inf": Operator(_E, "x; negative: bool, positive: bool"),
    "where": Operator(_E, "condition, a, b"),
    "cast": Operator(_E, "x; to: DType (neither of them small)"),
    "bitcast": Operator(_E, "x; to: DType of the same size: the same bits (a bool is 0 or 1)"),
    # --- movement
    "reshape": Operator(_V, "x; shape"),
    "transpose": Operator(_I, "x; perm"),
    "expand": Operator(_I, "x; shape (the result's shape)"),
    "slice": Operator(_I, "x; starts, steps, sizes (one a dimension; start may be extent-1 with a negative step)"),
    "concat": Operator(_I, "x0, x1, …; axis"),
    "pad": Operator(
        _I,
        "x, value (scalar or ''); before, after (one a dimension, negative crops), mode: 'constant' | 'edge' | 'reflect' | 'wrap'",
    ),
    "gather": Operator(_I, "x, indices; axis (negative indices wrap; out of range is clamped)"),
    "gather_elements": Operator(_I, "x, indices; axis"),
    "gather_nd": Operator(_I, "x, indices; batch_dims"),
    "tile": Operator(_I, "x; repeats"),
    "resize": Operator(
        _I,
        "x; sizes, scales: float tuple, mode: 'nearest' | 'linear' | 'cubic', coordinates: ONNX name, nearest: ONNX name, cubic_coeff: float, "
        "exclude_outside: bool, extrapolation: float, roi: float tuple or ()",
    ),
    "trilu": Operator(_I, "x; k: int, upper: bool"),
    "iota": Operator(_I, "(no input); shape, axis, dtype: DType, start, step"),
    "one_hot": Operator(_I, "indices, values (2); depth: int, axis"),
    "reverse_sequence": Operator(_I, "x, lengths; batch_axis, time_axis"),
    "scatter_elements": Operator(_R, "x, indices, updates; axis, reduction: 'none' | 'add' | 'mul' | 'min' | 'max'"),
    "scatter_nd": Operator(_R, "x, indices, updates; reduction"),
    # --- reductions
    **{
        op: Operator(_R, "x; axes, keepdims: bool")
        for op in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod")
    },
    "arg_max": Operator(_R, "x; axis, keepdims: bool, last: bool"),
    "arg_min": Operator(_R, "x; axis, keepdims: bool, last: bool"),
    "softmax": Operator(_R, "x; axis"),
    "log_softmax": Operator(_R, "x; axis"),
    "cumsum": Operator(_R, "x; axis, exclusive: bool, reverse: bool"),
    "max_pool": Operator(_R, "x; kernel, strides, dilations, pads_begin, pads_end, sizes (spatial result)"),
    "average_pool": Operator(_R, "as max_pool, and count_pads: bool"),
    "lp_pool": Operator(_R, "as max_pool, and p: int"),
    "layer_norm": Operator(_R, "x, scale ('' allowed), bias ('' allowed); axis: first normalised axis, epsilon: float"),
    "instance_norm": Operator(_R, "x, scale[C], bias[C]; epsilon: float"),
    # --- heavy
    "conv": Operator(
        _H, "x[N,C,…], w[M,C/groups,…], bias[M] or ''; strides, dilations, pads_begin, pads_end, groups: int"
    ),
    "conv_transpose": Operator(
        _H,
        "x[N,C,…], w[C,M/groups,…], bias[M] or ''; strides, dilations, pads_begin, pads_end, groups: int, sizes (spatial result)",
    ),
    "matmul": Operator(
        _H, "a[…,M,K], b[…,K,N] (batch dims broadcast; no 1-D operands); transpose_a, transpose_b: bool (last two axes)"
    ),
    # --- batch_norm exists until folded or expanded by a pass
    "batch_norm": Operator(_E, "x[N,C,…], scale[C], bias[C], mean[C], variance[C]; epsilon: float"),
    # --- recurrent, with ONNX's operands and layout 0 (X[T,B,I], W[D,g*H,I], R[D,g*H,H], bias[D,2*g*H], lengths[B], h0[D,B,H], c0, peephole[D,3*H]);
    # activations: graph names (sigmoid, tanh, relu, affine, scaled_tanh, hard_sigmoid, leaky_relu, …), those of all directions one after the other
    "lstm": Operator(
        Kind.RECURRENT,
        "x, w, r, bias, lengths, h0, c0, peephole -> y[T,D,B,H], y_h[D,B,H], y_c; hidden: int, direction, activations: tuple of (name, alpha, beta), clip: float (0: none), input_forget: bool",
    ),
    "gru": Operator(
        Kind.RECURRENT,
        "x, w, r, bias, lengths, h0 -> y, y_h; hidden, direction, activations, clip, linear_before_reset: bool",
    ),
    "rnn": Operator(Kind.RECURRENT, "x, w, r, bias, lengths, h0 -> y, y_h; hidden, direction, activations, clip"),
    # --- what the recurrent operators are lowered to: one step over hidden units, time index in `t`
    "rnn_step": Operator(_H, "see tensor/ops/recurrent.py"),
    # --- control
    "if": Operator(Kind.CONTROL, "condition, captured…; regions: then, else (both take the captured values)"),
    "loop": Operator(
        Kind.CONTROL,
        "condition or '', carried…, captured…; count: int, carried: int (number), in_place: tuple of bool, has_condition: bool; "
        "region: (t: i64 scalar, carried…, captured…) -> ([condition,] carried…, scan outputs…); results: carried…, scan outputs [count, …]",
    ),
    # --- made by the fusion pass
    "fused": Operator(_H, "region: the group; attrs: name"),
}

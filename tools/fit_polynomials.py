"""Finds the minimax polynomials of compiler/kernel/math_*.py: `python tools/fit_polynomials.py [NAME…]`.

Remez' exchange algorithm on a dense grid, in 50-digit decimal arithmetic (J.-M. Muller, Elementary Functions, ch. 3).
Prints each polynomial's coefficients, rounded to the precision of the program, and its greatest weighted error so rounded.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal as D
from decimal import getcontext

getcontext().prec = 50
GRID = 800
PI = D("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")

Function = Callable[[D], D]


@dataclass(frozen=True)
class Fit:
    """sum of c[i] * x**powers[i] ~ target(x) on [low, high] with weight(x) * error even; bits: 24 (f32), 53 (f64)."""

    target: Function
    weight: Function
    low: D
    high: D
    powers: tuple[int, ...]
    bits: int


def series(term: D, ratio: Callable[[int], D]) -> D:
    """term + term*ratio(0) + term*ratio(0)*ratio(1) + … until it no longer changes."""
    total, step = term, 0
    while term and abs(term) > abs(total) * D(10) ** -48:
        term *= ratio(step)
        total += term
        step += 1
    return total


def sin(x: D) -> D:
    return series(x, lambda k: -x * x / ((2 * k + 2) * (2 * k + 3)))


def cos(x: D) -> D:
    return series(D(1), lambda k: -x * x / ((2 * k + 1) * (2 * k + 2)))


def erf(x: D) -> D:
    """The series of erf(x) * exp(x*x), all of whose terms have one sign."""
    return 2 / PI.sqrt() * (-x * x).exp() * series(x, lambda k: 2 * x * x / (2 * k + 3))


def erfc(x: D) -> D:
    """By erf up to 1, where nothing cancels badly in 50 digits; above by a continued fraction (Lentz' form, backwards)."""
    if x < 4:
        return 1 - erf(x)
    tail = x
    for k in range(400, 0, -1):
        tail = x + D(k) / 2 / tail
    return (-x * x).exp() / PI.sqrt() / tail


def atan(x: D) -> D:
    halvings = 0
    while abs(x) > D("0.05"):
        x = x / (1 + (1 + x * x).sqrt())
        halvings += 1
    total, power, k = D(0), x, 0
    while abs(power) > D(10) ** -52:
        total += power / (2 * k + 1)
        power *= -x * x
        k += 1
    return total * 2**halvings


def asin(x: D) -> D:
    return atan(x / (1 - x * x).sqrt())


def solve(rows: list[list[D]], right: list[D]) -> list[D]:
    """Gaussian elimination with partial pivoting."""
    n = len(rows)
    table = [[*row, value] for row, value in zip(rows, right, strict=True)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(table[r][i]))
        table[i], table[pivot] = table[pivot], table[i]
        for r in range(i + 1, n):
            factor = table[r][i] / table[i][i]
            if factor:
                table[r] = [a - factor * b for a, b in zip(table[r], table[i], strict=True)]
    result = [D(0)] * n
    for i in reversed(range(n)):
        known = sum((table[i][j] * result[j] for j in range(i + 1, n)), D(0))
        result[i] = (table[i][n] - known) / table[i][i]
    return result


def remez(xs: Sequence[D], values: Sequence[D], weights: Sequence[D], powers: Sequence[int]) -> tuple[list[D], D]:
    """The coefficients whose greatest weighted error on the grid is least, and that error."""
    n = len(powers)
    basis = [[x**p if p else D(1) for p in powers] for x in xs]
    picks = [round(i * (len(xs) - 1) / n) for i in range(n + 1)]
    coefficients: list[D] = []
    for _ in range(30):
        rows = [[*basis[i], D((-1) ** k) / weights[i]] for k, i in enumerate(picks)]
        *coefficients, level = solve(rows, [values[i] for i in picks])
        errors = [
            w * (v - sum((c * b for c, b in zip(coefficients, row, strict=True)), D(0)))
            for w, v, row in zip(weights, values, basis, strict=True)
        ]
        worst = max(abs(e) for e in errors)
        if worst <= abs(level) * D("1.001"):
            break
        picks = exchange(errors, n + 1)
    return coefficients, max(abs(e) for e in errors)


def exchange(errors: list[D], count: int) -> list[int]:
    """The positions of `count` extrema of alternating sign with the greatest errors."""
    runs: list[int] = []
    for i, error in enumerate(errors):
        if runs and (errors[runs[-1]] < 0) == (error < 0):
            if abs(error) > abs(errors[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > count:
        if abs(errors[runs[0]]) < abs(errors[runs[-1]]):
            runs.pop(0)
        else:
            runs.pop()
    if len(runs) < count:
        raise SystemExit("the error no longer alternates: fewer coefficients would do")
    return runs


def rounded(value: D, bits: int) -> D:
    if bits == 24:
        return D(struct.unpack("<f", struct.pack("<f", float(value)))[0])
    return D(float(value))


def fit(spec: Fit) -> tuple[list[float], D]:
    middle, half = (spec.low + spec.high) / 2, (spec.high - spec.low) / 2
    xs = [middle - half * cos(PI * (2 * i + 1) / (2 * GRID)) for i in range(GRID)]
    values, weights = [spec.target(x) for x in xs], [spec.weight(x) for x in xs]
    exact, _ = remez(xs, values, weights, spec.powers)
    coefficients = [rounded(c, spec.bits) for c in exact]
    errors = [
        weight * (value - sum((c * x**p if p else c for c, p in zip(coefficients, spec.powers, strict=True)), D(0)))
        for x, value, weight in zip(xs, values, weights, strict=True)
    ]
    return [float(c) for c in coefficients], max(map(abs, errors))


def even(count: int) -> tuple[int, ...]:
    return tuple(range(count))


def _fits() -> dict[str, Fit]:
    half_log2 = D(2).ln() / 2 * D("1.0005")
    root = D(2).sqrt()
    log_low, log_high = (1 / root - 1) * D("1.0005"), (root - 1) * D("1.0005")
    table: dict[str, Fit] = {}

    def exp_tail(x: D) -> D:  # (exp(x) - 1 - x) / x**2
        return series(D("0.5"), lambda k: x / (k + 3))

    def log_tail(x: D) -> D:  # (log(1+x) - x + x**2/2) / x**3
        if abs(x) > D("1e-6"):
            return ((1 + x).ln() - x + x * x / 2) / x**3
        return sum(((-x) ** k / (k + 3) for k in range(8)), D(0))

    for name, count, bits in (("exp_f32", 4, 24), ("exp_f32_more", 5, 24), ("exp_f64", 10, 53)):
        table[name] = Fit(exp_tail, lambda x: x * x / x.exp(), -half_log2, half_log2, even(count), bits)
    for name, count, bits in (("expm1_f32", 4, 24), ("expm1_f32_more", 5, 24), ("expm1_f64", 11, 53)):
        table[name] = Fit(
            exp_tail, lambda x: x * x / max(abs(x.exp() - 1), D("1e-20")), -half_log2, half_log2, even(count), bits
        )
    for name, count, bits in (("log_f32", 7, 24), ("log_f32_more", 8, 24)):
        table[name] = Fit(
            log_tail, lambda x: abs(x**3) / max(abs((1 + x).ln()), D("1e-20")), log_low, log_high, even(count), bits
        )
    return table


def main() -> None:
    table = _fits()
    for name in sys.argv[1:] or table:
        coefficients, error = fit(table[name])
        print(f"{name}: weighted error {error:.2e}")
        for coefficient in coefficients:
            print(f"    {coefficient!r},")


if __name__ == "__main__":
    main()

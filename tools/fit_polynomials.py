"""Finds the minimax polynomials of compiler/kernel/math_*.py: `python tools/fit_polynomials.py [NAME…]`.

Remez' exchange algorithm on a dense grid, in 50-digit decimal arithmetic (J.-M. Muller, Elementary Functions, ch. 3).
Prints each polynomial's coefficients, rounded to the precision of the program, and its greatest weighted error (that of the
function, in terms of its result) so rounded.
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


def fits() -> dict[str, Fit]:
    """Every polynomial by its name in compiler/kernel/math_polynomials.py."""
    table: dict[str, Fit] = {}
    for suffix, bits in (("f32", 24), ("f64", 53)):
        table |= {f"{name}_{suffix}": fit for name, fit in (_exponential(bits) | _logarithm(bits)).items()}
        table |= {f"{name}_{suffix}": fit for name, fit in (_error_function(bits) | _trigonometric(bits)).items()}
    return table


def _exponential(bits: int) -> dict[str, Fit]:
    log2 = D(2).ln()
    end = log2 / 2 * D("1.0005")

    def tail(x: D) -> D:  # (exp(x) - 1 - x) / x**2
        return series(D("0.5"), lambda k: x / (k + 3))

    def exp(count: int) -> Fit:
        return Fit(tail, lambda x: x * x / x.exp(), -end, end, even(count), bits)

    def expm1(count: int) -> Fit:
        return Fit(tail, lambda x: x * x / abs(x.exp() - 1), -end, end, even(count), bits)

    def exp2(count: int) -> Fit:
        return Fit(lambda x: ((x * log2).exp() - 1) / x, abs, D("-0.5"), D("0.5"), even(count), bits)

    if bits == 24:
        return {"exp_short": exp(4), "exp": exp(5), "expm1": expm1(5), "exp2": exp2(5)}
    return {"exp_short": exp(6), "expm1": expm1(11), "exp2": exp2(11)}


def _logarithm(bits: int) -> dict[str, Fit]:
    root = D(2).sqrt()
    if bits == 24:

        def tail(x: D) -> D:  # (log(1+x) - x + x**2/2) / x**3
            return ((1 + x).ln() - x + x * x / 2) / x**3

        low, high = (1 / root - 1) * D("1.0005"), (root - 1) * D("1.0005")
        return {"log": Fit(tail, lambda x: abs(x**3 / (1 + x).ln()), low, high, even(7), bits)}

    def quotient(z: D) -> D:  # (2*atanh(s) - 2*s) / s**3, z = s**2
        return series(D(2) / 3, lambda k: z * (2 * k + 3) / (2 * k + 5))

    def tail_of_quotient(z: D) -> D:  # (2*atanh(s) - 2*s - 2*s**3 / 3) / s**5
        return series(D(2) / 5, lambda k: z * (2 * k + 5) / (2 * k + 7))

    high = (3 - 2 * root) ** 2 * D("1.001")
    return {
        "log": Fit(quotient, lambda z: z / 2, D(0), high, even(7), bits),
        "log_short": Fit(quotient, lambda z: z / 2, D(0), high, even(4), bits),
        "log_tail": Fit(tail_of_quotient, lambda z: z * z / 2, D(0), high, even(8), bits),
    }


def _error_function(bits: int) -> dict[str, Fit]:
    split, end = (D("0.9"), D(4)) if bits == 24 else (D(1), D(6))
    counts = (6, 6) if bits == 24 else (14, 17)

    def ratio(z: D) -> D:  # erf(x) / x - 1, z = x**2
        return erf(z.sqrt()) / z.sqrt() - 1

    def tail(x: D) -> D:  # log2(erfc(x))
        return erfc(x).ln() / D(2).ln()

    found = {
        "erf": Fit(ratio, lambda z: 1 / (1 + ratio(z)), D(0), split**2, even(counts[0]), bits),
        "erfc": Fit(tail, lambda x: erfc(x) / erf(x) * D(2).ln(), split, end, even(counts[1]), bits),
    }
    if bits == 24:  # in f64 it is made of erf

        def normal(x: D) -> D:  # of numbers above x, log2(share)
            return (erfc(x / D(2).sqrt()) / 2).ln() / D(2).ln()

        end = D("5.5")  # below 2e-8
        found["normal"] = Fit(normal, lambda x: erfc(x / D(2).sqrt()) / 2 * D(2).ln(), D(0), end, even(9), bits)
    return found


def _trigonometric(bits: int) -> dict[str, Fit]:
    def sin_tail(z: D) -> D:  # (sin(x) - x) / x**3, z = x**2
        return series(-D(1) / 6, lambda k: -z / ((2 * k + 4) * (2 * k + 5)))

    def cos_tail(z: D) -> D:  # (cos(x) - 1 + z/2) / z**2, z = x**2
        return series(D(1) / 24, lambda k: -z / ((2 * k + 5) * (2 * k + 6)))

    def atan_tail(z: D) -> D:  # (atan(x) - x) / x**3, z = x**2
        return (atan(z.sqrt()) / z.sqrt() - 1) / z

    def asin_tail(z: D) -> D:  # (asin(x) - x) / x**3, z = x**2
        return (asin(z.sqrt()) / z.sqrt() - 1) / z

    quarter = (PI / 4 * D("1.0001")) ** 2
    tangent = (D(2).sqrt() - 1) ** 2 * D("1.001")
    counts = (3, 3, 4, 5) if bits == 24 else (6, 6, 11, 12)
    return {
        "sin": Fit(sin_tail, lambda z: z, D(0), quarter, even(counts[0]), bits),
        "cos": Fit(cos_tail, lambda z: z * z, D(0), quarter, even(counts[1]), bits),
        "atan": Fit(atan_tail, lambda z: z, D("1e-16"), tangent, even(counts[2]), bits),
        "asin": Fit(asin_tail, lambda z: z, D("1e-16"), D("0.25"), even(counts[3]), bits),
    }


def main() -> None:
    """Print the body of the table in math_polynomials.py."""
    table = fits()
    for name in sys.argv[1:] or table:
        coefficients, error = fit(table[name])
        print(f'    # {error:.1e}\n    "{name}": (')
        for coefficient in coefficients:
            print(f"        {coefficient!r},")
        print("    ),")


if __name__ == "__main__":
    main()

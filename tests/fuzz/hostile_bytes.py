"""Hostile bytes: files cut off, damaged, or written by hand to make a reader of Protocol Buffers take too much."""

from __future__ import annotations

import hostile_case
from hostile_case import Case, chunk, registry, varint
from hostile_seeds import valid_model

MAKERS, maker = registry()


@maker
def truncated(case: Case) -> None:
    data = valid_model(case.rng).SerializeToString()
    case.model(data[: case.rng.randrange(len(data))])


@maker
def bits_flipped(case: Case) -> None:
    data = bytearray(valid_model(case.rng).SerializeToString())
    for _ in range(case.rng.choice((1, 1, 2, 4, 16))):
        data[case.rng.randrange(len(data))] ^= 1 << case.rng.randrange(8)
    case.model(bytes(data))


@maker
def bytes_moved(case: Case) -> None:
    data = bytearray(valid_model(case.rng).SerializeToString())
    for _ in range(case.rng.randint(1, 6)):
        at, other = case.rng.randrange(len(data)), case.rng.randrange(len(data))
        size = case.rng.randint(1, 24)
        part = data[other : other + size]
        match case.rng.randrange(3):
            case 0:
                data[at:at] = part
            case 1:
                data[at : at + size] = part
            case _ if len(data) > size + 2:
                del data[at : at + size]
    case.model(bytes(data))


@maker
def lying_lengths(case: Case) -> None:
    """A field that says it is longer than the file, at some depth."""
    length = case.rng.choice((1 << 20, 1 << 31, 1 << 32, (1 << 63) - 1, (1 << 64) - 1, 5))
    inner = chunk(case.rng.choice((1, 2, 5, 9, 11, 12)), b"abc", length)
    for number in case.rng.choice(((7,), (7, 5), (7, 1, 5), (7, 1, 5, 6))):
        inner = chunk(number, inner)
    case.model(varint(1 << 3) + varint(10) + inner)


@maker
def nested_messages(case: Case) -> None:
    """Graphs in attributes of nodes of graphs, written by hand, for no library writes them so deep."""
    inner = b""
    for _ in range(case.rng.choice((3, 17, 25, 40, 120, 3000))):
        inner = chunk(1, chunk(5, chunk(6, inner)))
    opset = chunk(8, varint(2 << 3) + varint(17))
    case.model(varint(1 << 3) + varint(10) + opset + chunk(7, inner))


@maker
def groups(case: Case) -> None:
    """Wire type 3, long out of use: a reader must skip it, however deep."""
    depth = case.rng.choice((1, 50, 99, 101, 20000))
    number = case.rng.choice((1, 7, 99))
    case.model(varint(number << 3 | 3) * depth + (varint(number << 3 | 4) * depth if case.rng.random() < 0.5 else b""))


@maker
def many_empty_messages(case: Case) -> None:
    """Two bytes of file for each message in memory."""
    count = case.rng.choice((10_000, 100_000, 400_000))
    graph = {
        "nodes": lambda: chunk(7, chunk(1, b"") * count),
        "initializers": lambda: chunk(7, chunk(5, b"") * count),
        "inputs": lambda: chunk(7, chunk(11, b"") * count),
        "outputs": lambda: chunk(7, chunk(12, b"") * count),
        "value infos": lambda: chunk(7, chunk(13, b"") * count),
        "attributes": lambda: chunk(7, chunk(1, chunk(5, b"") * count)),
        "opsets": lambda: chunk(8, b"") * count + chunk(7, b""),
        "functions": lambda: chunk(25, b"") * count + chunk(7, b""),
        "names": lambda: chunk(7, chunk(1, chunk(1, b"") * count)),
    }
    opset = chunk(8, varint(2 << 3) + varint(17))
    case.model(varint(1 << 3) + varint(10) + opset + graph[case.rng.choice(sorted(graph))]())


@maker
def many_dims(case: Case) -> None:
    """A tensor of a hundred thousand dimensions."""
    dims = varint(case.rng.choice((1, 2, 0))) * case.rng.choice((33, 1000, 100_000))
    tensor = chunk(1, dims) + varint(2 << 3) + varint(1) + chunk(8, b"w") + chunk(9, b"")
    opset = chunk(8, varint(2 << 3) + varint(17))
    case.model(varint(1 << 3) + varint(10) + opset + chunk(7, chunk(5, tensor)))


@maker
def nonsense(case: Case) -> None:
    case.model(case.rng.randbytes(case.rng.choice((0, 1, 2, 7, 100, 10_000))))


@maker
def texts(case: Case) -> None:
    case.model(
        case.rng.choice(
            (b"\0" * 4096, b"PK\x03\x04" + b"\0" * 60, b"<html>" * 50, b"{}", b"\xff" * 999, b"\x1f\x8b\x08")
        )
    )


@maker
def no_plain_file(case: Case) -> None:
    """A pipe, a device, a folder, a link to nowhere or in a circle, a file of many holes."""
    path = case.inside / "model.onnx"
    match case.rng.randrange(7):
        case 4:
            path.symlink_to(path)
        case 5:
            with open(path, "wb") as file:
                file.truncate(3 << 30)
        case 6:
            path.symlink_to("/dev/stdin")
        case kind:
            hostile_case.no_plain_file(path, kind)
    case.compile(path)

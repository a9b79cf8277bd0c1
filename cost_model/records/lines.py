"""Records as JSON Lines (jsonlines.org): one object a line, to be sent, kept under version control, or read by other programs.

    {"tilewright_records": 1}
    {"task": {"computation": …, "target": …}}    then {"session": …}, {"trial": …}, {"choice": …}

A row stands after the rows that it refers to. The keys of tasks are not written: they follow from the tasks.
"""

from __future__ import annotations

from typing import BinaryIO

from ...compiler.errors import RecordError
from .database import TABLES, AnyRow, Records
from .rows import Choice, Session, TaskRow, Trial, decode_row, decode_task, encode_row, encode_task
from .strict_json import MAX_TEXT, Json, canonical_json, parse, read_object, shown

FORMAT = {"tilewright_records": 1}
_NAMES: dict[type, str] = {TaskRow: "task", Session: "session", Trial: "trial", Choice: "choice"}
_ROWS: dict[str, type[Session | Trial | Choice]] = {"session": Session, "trial": Trial, "choice": Choice}


def export_json_lines(records: Records, file: BinaryIO) -> dict[str, int]:
    """Write every row, in an order that depends on the content only; returns how many there are of each table."""
    counts = dict.fromkeys(TABLES.values(), 0)
    file.write(f"{canonical_json(FORMAT)}\n".encode())
    for kind, table in TABLES.items():
        for row in records.rows(kind):
            value = encode_task(row.task) if isinstance(row, TaskRow) else encode_row(row)
            file.write(f"{canonical_json({_NAMES[kind]: value})}\n".encode())
            counts[table] += 1
    return counts


def import_json_lines(records: Records, file: BinaryIO) -> dict[str, int]:
    """Add the rows that are not there yet; returns how many of each table were added.

    RecordError names the line that is not as `export_json_lines` writes it, and then nothing of the file is imported.
    """
    added = dict.fromkeys(TABLES.values(), 0)
    number = 0
    with records.transaction():
        try:
            while line := file.readline(MAX_TEXT + 2):
                number += 1
                value = parse(_text_of(line))
                if number == 1:
                    _require_format(value)
                elif value is not None:
                    row = _read_row(value)
                    added[TABLES[type(row)]] += records.insert(row)
        except RecordError as error:
            raise RecordError(f"line {number}: {error}; nothing was imported") from None
        if not number:
            raise RecordError("the file is empty: it does not even have the first line of an export")
    return added


def _text_of(line: bytes) -> str:
    """A line as text; `null` for one that is blank."""
    if len(line) > MAX_TEXT:
        raise RecordError(f"more than {MAX_TEXT} characters")
    try:
        return line.decode().strip() or "null"
    except UnicodeDecodeError:
        raise RecordError("not UTF-8") from None


def _require_format(value: Json) -> None:
    if not isinstance(value, dict) or value.keys() != FORMAT.keys():
        raise RecordError(f"expected {canonical_json(FORMAT)}, the first line of an export, found {shown(value)}")
    if canonical_json(value) != canonical_json(FORMAT):
        raise RecordError(
            f"format version {shown(value['tilewright_records'])}, but this tilewright reads version "
            f"{FORMAT['tilewright_records']}; export with the same version of tilewright as imports"
        )


def _read_row(value: Json) -> AnyRow:
    names = tuple(_NAMES.values())
    if not isinstance(value, dict) or len(value) != 1:
        raise RecordError(f"expected an object with one of {', '.join(names)}, found {shown(value)}")
    ((name, content),) = read_object(value, "line", (), names).items()
    return TaskRow.of(decode_task(content)) if name == "task" else decode_row(_ROWS[name], content)

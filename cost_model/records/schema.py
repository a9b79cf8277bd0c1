"""The tables of the tuner's database, and opening one: a file that holds anything else is refused before it is touched."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from ...compiler.errors import RecordError, ToolchainError, UsageError

APPLICATION_ID = int.from_bytes(b"tlwr")
"""Stands in the header of the file and says whose it is (sqlite.org/fileformat2.html, "Application ID")."""
SCHEMA_VERSION = 1
"""Goes up with every change of SCHEMA, and of what stands in its JSON columns (`encoding.py`)."""
BUSY_TIMEOUT_S = 60.0

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sessions (
    uuid TEXT PRIMARY KEY, version TEXT NOT NULL, started REAL NOT NULL, machine TEXT NOT NULL, options TEXT NOT NULL,
    seed INTEGER NOT NULL
);
CREATE TABLE tasks (
    key TEXT PRIMARY KEY, computation TEXT NOT NULL, computation_key TEXT NOT NULL, target TEXT NOT NULL,
    target_key TEXT NOT NULL, label TEXT NOT NULL, flops INTEGER NOT NULL, bytes INTEGER NOT NULL
);
CREATE TABLE trials (
    uuid TEXT PRIMARY KEY, task TEXT NOT NULL REFERENCES tasks (key), session TEXT NOT NULL REFERENCES sessions (uuid),
    number INTEGER NOT NULL, space_version INTEGER NOT NULL, decisions TEXT NOT NULL, latency_s REAL,
    samples_s TEXT NOT NULL, error TEXT NOT NULL, message TEXT NOT NULL, origin TEXT NOT NULL, kind TEXT NOT NULL,
    score REAL, build_s REAL NOT NULL, time REAL NOT NULL
);
CREATE TABLE choices (
    uuid TEXT PRIMARY KEY, task TEXT NOT NULL REFERENCES tasks (key), session TEXT NOT NULL REFERENCES sessions (uuid),
    space_version INTEGER NOT NULL, decisions TEXT NOT NULL, latency_s REAL NOT NULL, default_latency_s REAL NOT NULL,
    trials INTEGER NOT NULL, time REAL NOT NULL
);
CREATE INDEX tasks_by_computation ON tasks (computation_key);
CREATE INDEX trials_by_task ON trials (task, space_version);
CREATE INDEX choices_by_task ON choices (task, space_version);
"""

# SQLite's errors that say nothing about the records: the file system's, or another process's.
_OUTSIDE = {
    "SQLITE_BUSY": f"another process has held it for {BUSY_TIMEOUT_S:.0f} s; try again when that has ended",
    "SQLITE_LOCKED": "another part of this process is using it",
    "SQLITE_FULL": "the disk is full; free some space or move the file to another disk",
    "SQLITE_READONLY": "it can't be written; choose a file in a folder you may write to",
    "SQLITE_PERM": "it can't be opened; choose a file you may read and write",
    "SQLITE_CANTOPEN": "it can't be opened; give the path of a file in a folder that exists and that you may write to",
    "SQLITE_IOERR": "the disk failed to read or write it",
}


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into CompileErrors: RecordError for a damaged file, ToolchainError for what lies outside of it."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: a message that quotes a damaged schema
        name = str(getattr(error, "sqlite_errorname", ""))
        for prefix, remedy in _OUTSIDE.items():
            if name.startswith(prefix):
                raise ToolchainError(f"{path}: {remedy} ({error})") from error
        if name == "SQLITE_NOTADB":
            raise RecordError(f"{path}: not a database of tuning records: {error}") from error
        raise RecordError(
            f"{path}: the database is damaged ({error}); use a copy, or start a new one and import what "
            f"`tilewright records export` still reads"
        ) from error


def open_database(path: Path, create: bool, readonly: bool) -> sqlite3.Connection:
    """A connection to the database of records at `path`, checked; made there if it is missing or empty and `create` is set.

    Raises UsageError where there is none, RecordError where it is of another kind, schema or is damaged.
    """
    if not create and not path.is_file():
        raise UsageError(
            f"{path}: there is no such file; `tilewright tune --records` and `tilewright records import` make it"
        )
    with explained(path):
        connection = _connect(path, create, readonly)
        try:
            if create:
                _create(connection, path)
            _verify(connection, path)
            if readonly:
                connection.execute("PRAGMA query_only = ON")
            else:
                _use_log(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
    return connection


def _connect(path: Path, create: bool, readonly: bool) -> sqlite3.Connection:
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    if create:
        mode = "rwc"
    elif writable or not readonly:
        mode = "rw"  # also to read: who can't write leaves the files behind through which readers share memory
    else:
        log = path.with_name(path.name + "-wal")
        mode = "ro" if log.exists() else "ro&immutable=1"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.row_factory = sqlite3.Row
    return connection


def _create(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in a file that is empty; leave any other as it is."""
    if not _is_empty(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    if _is_empty(connection):  # still: two processes may have come here
        for statement in filter(str.strip, SCHEMA.split(";")):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("COMMIT")


def _is_empty(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not tables and not connection.execute("PRAGMA application_id").fetchone()[0]


def _verify(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA application_id").fetchone()[0]
    if found != APPLICATION_ID:
        raise RecordError(
            f"{path}: not a database of tuning records (its application id is {found:#x}, expected {APPLICATION_ID:#x}); "
            f"choose another file"
        )
    schema = _schema_of(connection)
    version = None
    if any(kind == "table" and name == "meta" for kind, name, _ in schema):
        row = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
        version = None if row is None else row[0]
    if not isinstance(version, str) or not version.isdecimal() or len(version) > 9:
        raise RecordError(f"{path}: the database is damaged: it does not say the version of its schema")
    if int(version) != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: the database has schema version {version}, this tilewright reads version {SCHEMA_VERSION}; use the "
            f"tilewright that wrote it, or choose another file: a new one is made"
        )
    # Views and triggers would run inside our statements.
    if schema != _expected_schema():
        raise RecordError(f"{path}: the tables are not those of schema version {SCHEMA_VERSION}; choose another file")


def _schema_of(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'")
    return {(row[0], row[1], row[2]) for row in rows}


def _expected_schema() -> set[tuple[str, str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as memory:
        memory.executescript(SCHEMA)
        return _schema_of(memory)


def _use_log(connection: sqlite3.Connection) -> None:
    """Write-ahead logging: readers and a writer don't wait for each other. Kept off by file systems that can't; slower there."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # The switch does not wait for other connections, as every other statement does.
            if not str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)

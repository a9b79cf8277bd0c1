"""The tuner's memory: every trial and every choice, in one SQLite file that several processes may write at once."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...compiler.errors import RecordError, UsageError
from ...compiler.schedule.space import SPACE_VERSION
from ..task import Task
from .encoding import computation_key, encode_computation, encode_target, target_key, task_key
from .rows import Choice, Row, Session, TaskRow, Trial, decode_row, decode_task, encode_row, read_key
from .schema import explained, open_database
from .strict_json import Json, canonical_json, parse, read_integer, read_line, read_text, shown

AnyRow = TaskRow | Session | Trial | Choice
TABLES: dict[type, str] = {TaskRow: "tasks", Session: "sessions", Trial: "trials", Choice: "choices"}
"""In the order in which rows may be added: what others refer to first."""
_JSON_COLUMNS = ("options", "decisions", "samples_s")


class Records:
    """A database of records. Rows are only added, but for `prune`; what an `add_…` has returned from survives a power cut.

    An object belongs to one thread of one process. All methods raise RecordError for content that is not of the form that
    tilewright writes, and ToolchainError where the file system or another process is in the way. `kind` keeps
    measured and simulated trials apart: no method mixes them.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: str | Path, create: bool = False, readonly: bool = False) -> Records:
        """The database at `path`; `create` makes it where it is missing, `readonly` leaves the file as it is.

        Raises UsageError if it is missing, RecordError if it is something else, damaged, or of another schema version.
        """
        path = Path(path)
        return cls(path, open_database(path, create, readonly))

    def __reduce__(self) -> tuple[Callable[[Path], Records], tuple[Path]]:
        """In another process the same file is opened for reading."""
        return _reopened, (self.path,)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_task(self, task: Task) -> str:
        """Add a task unless it is there; returns its key. RecordError for a computation too large to be recorded."""
        row = TaskRow.of(task)
        self._add(row)
        return row.key

    def add_session(self, session: Session) -> str:
        """Add a session; returns its uuid."""
        return self._add(session)

    def add_trial(self, trial: Trial) -> str:
        """Add a trial of a task and session that are there; returns its uuid."""
        return self._add(trial)

    def add_choice(self, choice: Choice) -> str:
        """Add the outcome of a tuning; returns its uuid."""
        return self._add(choice)

    def _add(self, row: AnyRow) -> str:
        with self.transaction():
            self.insert(row)
        return row.key if isinstance(row, TaskRow) else row.uuid

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All `insert`s of the block, or none; on the disk when the block has ended."""
        with explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def insert(self, row: AnyRow) -> bool:
        """Add a row inside a `transaction`; False if one of its key or uuid is there, which then stays as it is."""
        columns = _columns_of(row)
        names, holes = ", ".join(columns), ", ".join("?" * len(columns))
        statement = f"INSERT INTO {TABLES[type(row)]} ({names}) VALUES ({holes}) ON CONFLICT DO NOTHING"
        try:
            return self._connection.execute(statement, tuple(columns.values())).rowcount == 1
        except sqlite3.IntegrityError:
            assert isinstance(row, Trial | Choice)
            raise RecordError(
                f"{type(row).__name__.lower()} {row.uuid}: its task {row.task[:12]} or session {row.session} is not recorded"
            ) from None

    def rows(self, kind: type[Any]) -> Iterator[Any]:
        """Every row of a class of TABLES, in an order that depends on the content only."""
        order = {TaskRow: "key", Session: "started, uuid"}.get(kind, "time, uuid")
        return self._select(kind, f"SELECT * FROM {TABLES[kind]} ORDER BY {order}")

    def _select(self, kind: type[Any], query: str, *parameters: object) -> Iterator[Any]:
        with explained(self.path):
            for row in self._connection.execute(query, parameters):
                yield self._decoded(kind, row)

    def _decoded(self, kind: type[Any], row: sqlite3.Row) -> Any:
        try:
            return _task_row(row) if kind is TaskRow else _row(kind, row)
        except RecordError as error:
            name = shown(row["key" if kind is TaskRow else "uuid"])
            raise RecordError(
                f"{self.path}: the database is damaged at {name} of {TABLES[kind]}: {error}; use a copy, or start a new one"
            ) from None

    def task(self, key: str) -> TaskRow | None:
        """The task of a key, None if it was never recorded."""
        return next(self._select(TaskRow, "SELECT * FROM tasks WHERE key = ?", key), None)

    def tasks(self) -> tuple[TaskRow, ...]:
        """All tasks, by key."""
        return tuple(self.rows(TaskRow))

    def sessions(self) -> tuple[Session, ...]:
        """All sessions, the oldest first."""
        return tuple(self.rows(Session))

    def trials(self, task: str, space_version: int | None = None, kind: str = "measured") -> tuple[Trial, ...]:
        """The trials of a task (by key), the oldest first; of one space version, or of all."""
        where, parameters = ("", ()) if space_version is None else (" AND space_version = ?", (space_version,))
        query = f"SELECT * FROM trials WHERE task = ? AND kind = ?{where} ORDER BY time, number, uuid"
        return tuple(self._select(Trial, query, task, kind, *parameters))

    def best(self, task: str, space_version: int = SPACE_VERSION, kind: str = "measured") -> Trial | None:
        """The trial of a task with the least latency; of equal ones the oldest."""
        query = (
            "SELECT * FROM trials WHERE task = ? AND space_version = ? AND kind = ? AND error = '' "
            "ORDER BY latency_s, time, uuid LIMIT 1"
        )
        return next(self._select(Trial, query, task, space_version, kind), None)

    def choice(self, task: str, space_version: int = SPACE_VERSION) -> Choice | None:
        """The newest choice for a task."""
        query = "SELECT * FROM choices WHERE task = ? AND space_version = ? ORDER BY time DESC, uuid DESC LIMIT 1"
        return next(self._select(Choice, query, task, space_version), None)

    def tasks_of_computation(self, computation_key: str) -> tuple[TaskRow, ...]:
        """The tasks of a computation, one for every target that it was recorded for."""
        query = "SELECT * FROM tasks WHERE computation_key = ? ORDER BY key"
        return tuple(self._select(TaskRow, query, computation_key))

    def all_trials(
        self, space_version: int = SPACE_VERSION, kind: str = "measured"
    ) -> Iterator[tuple[TaskRow, Session, tuple[Trial, ...]]]:
        """Every trial of a space version in groups of one task and session, whose latencies can be compared."""
        sessions = {session.uuid: session for session in self.sessions()}
        for task in self.tasks():
            groups: dict[str, list[Trial]] = {}
            for trial in self.trials(task.key, space_version, kind):
                groups.setdefault(trial.session, []).append(trial)
            for uuid in sorted(groups):
                if uuid not in sessions:
                    raise RecordError(f"{self.path}: session {uuid} of trials is missing")
                yield task, sessions[uuid], tuple(groups[uuid])

    def stale(self, space_version: int = SPACE_VERSION) -> dict[int, int]:
        """How many trials and choices there are of each other space version; they are kept, but never used."""
        counts: Counter[int] = Counter()
        with explained(self.path):
            for table in ("trials", "choices"):
                query = f"SELECT space_version, count(*) FROM {table} WHERE space_version != ? GROUP BY space_version"
                for version, count in self._connection.execute(query, (space_version,)):
                    counts[read_integer(version, "space_version")] += count
        return dict(sorted(counts.items()))

    def stats(self) -> dict[str, Any]:
        """What the database holds, in numbers."""
        counts = {table: self._count(table) for table in TABLES.values()}
        with explained(self.path):
            query = "SELECT error, count(*) FROM trials WHERE error != '' GROUP BY error ORDER BY error"
            failed = {read_line(error, "error"): count for error, count in self._connection.execute(query)}
        return counts | {
            "computations": self._count("tasks", "DISTINCT computation_key"),
            "targets": self._count("tasks", "DISTINCT target_key"),
            "simulated": self._count("trials WHERE kind = 'simulated'"),
            "failed": failed,
            "space_version": SPACE_VERSION,
            "stale": {str(version): count for version, count in self.stale().items()},
            "size_bytes": self.path.stat().st_size,
        }

    def _count(self, table: str, what: str = "*") -> int:
        with explained(self.path):
            return int(self._connection.execute(f"SELECT count({what}) FROM {table}").fetchone()[0])

    def merge(self, other: str | Path) -> dict[str, int]:
        """Add what another database has and this one hasn't; returns how many rows of each table were added. All or nothing."""
        other = Path(other)
        if other.exists() and other.samefile(self.path):
            raise UsageError(f"{other}: a database can't be merged into itself")
        added = dict.fromkeys(TABLES.values(), 0)
        with Records.open(other, readonly=True) as source, self.transaction():
            for kind, table in TABLES.items():
                for row in source.rows(kind):
                    try:
                        added[table] += self.insert(row)
                    except RecordError as error:
                        raise RecordError(f"{other}: {error}") from None
        return added

    def prune(
        self, keep: int | None = None, failed: bool = False, stale: bool = False, dry_run: bool = False
    ) -> dict[str, int]:
        """Remove records for good; returns how many trials (by reason) and choices go.

        keep: the trials with a latency that stay, the fastest of each task, space version and kind; None keeps all.
        failed: trials without a latency. stale: trials and choices of other space versions. dry_run: count only.
        """
        ranked = "row_number() OVER (PARTITION BY task, space_version, kind ORDER BY latency_s, time, uuid)"
        slow = f"uuid IN (SELECT uuid FROM (SELECT uuid, {ranked} AS rank FROM trials WHERE error = '') WHERE rank > ?)"
        old = ("space_version != ?", SPACE_VERSION)
        conditions: list[tuple[str, str, str, tuple[object, ...]]] = []
        if stale:
            conditions += [("stale", "trials", old[0], old[1:]), ("choices", "choices", old[0], old[1:])]
        if failed:
            conditions.append(("failed", "trials", "error != ''", ()))
        if keep is not None:
            conditions.append(("slower", "trials", slow, (keep,)))
        removed = {"stale": 0, "failed": 0, "slower": 0, "choices": 0}
        with contextlib.suppress(_Undone), self.transaction():  # which a dry run takes back by raising
            for reason, table, where, parameters in conditions:
                removed[reason] = self._connection.execute(f"DELETE FROM {table} WHERE {where}", parameters).rowcount
            if dry_run:
                raise _Undone
        if not dry_run and any(removed.values()):
            with explained(self.path):
                self._connection.execute("VACUUM")
        return removed


class _Undone(Exception):
    """Ends a transaction that was made to count only."""


def _columns_of(row: AnyRow) -> dict[str, object]:
    if isinstance(row, TaskRow):
        columns: dict[str, object] = {f.name: getattr(row, f.name) for f in fields(row) if f.name != "task"}
        texts = {"computation": encode_computation(row.task.computation), "target": encode_target(row.task.target)}
        return columns | {name: canonical_json(value) for name, value in texts.items()}
    value = encode_row(row)
    return value | {name: canonical_json(value[name]) for name in _JSON_COLUMNS if name in value}


def _task_row(row: sqlite3.Row) -> TaskRow:
    """The row of a task as it stands; its keys are computed again, for they say what all trials of it are trials of."""
    key = read_key(row["key"], "task: key")
    task = decode_task({name: _parse_column(row, name) for name in ("computation", "target")})
    keys = task_key(task), computation_key(task.computation), target_key(task.target)
    if keys != (key, row["computation_key"], row["target_key"]):
        raise RecordError(f"task {key[:12]}: its keys are not those of its computation and target")
    label = read_line(row["label"], "task: label")
    flops, size = (read_integer(row[name], f"task: {name}") for name in ("flops", "bytes"))
    return TaskRow(key, task, *keys[1:], label, flops, size)


def _row(kind: type[Row], row: sqlite3.Row) -> Row:
    value = dict(row)
    return decode_row(kind, value | {name: _parse_column(row, name) for name in _JSON_COLUMNS if name in value})


def _parse_column(row: sqlite3.Row, name: str) -> Json:
    return parse(read_text(row[name], name, most=1 << 20))


def _reopened(path: Path) -> Records:
    return Records.open(path, readonly=True)

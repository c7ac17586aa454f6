"""Answers in SQLite (WAL), one file for one sidecar; in memory where no folder is given.

One thread does all of it: a slow disk delays look-ups up to their deadline, and nothing else.
An entry is one transaction: after kill -9 it is there or it isn't. `synchronous=NORMAL` syncs at
checkpoints only, so a power cut may lose the last entries, never halves of them. A file that SQLite
can't read is put aside and a new one begun: answers can be had again. Called by `memory`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import structlog

from fairstow.cache_sidecar.kept import Answer
from fairstow.cache_sidecar.stores.records import (
    MOST_LABELS,
    Head,
    Label,
    Purged,
    Seal,
    StoreError,
)
from fairstow.cluster.errors import InputError

_VERSION = 2
_SCHEMA = """
CREATE TABLE heads (id TEXT PRIMARY KEY, head BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE answers (id TEXT PRIMARY KEY, answer BLOB NOT NULL);
CREATE TABLE labels (number INTEGER PRIMARY KEY, label BLOB NOT NULL);
"""
_AT_ONCE = 500
_WAITS = 1.0
MOST_WAITING = 1_024

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class SqliteStore:
    """Answers, and labels of them.

    Args:
        folder: of the file; None keeps everything in memory.
        seal: closes what is kept.
        most: bytes of the file, beside a few MB of its log; what doesn't fit isn't kept.

    Raises:
        InputError, OSError: the file can't be had.
    """

    def __init__(
        self, folder: Path | None, seal: Seal | None = None, most: int | None = None
    ) -> None:
        self._most = most
        self._seal = seal or Seal()
        self._lock = _lock(folder) if folder else None
        self._path = str(folder / "cache.db") if folder else ":memory:"
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "store")
        self._base = self._thread.submit(self._opened).result()

    def heads(self) -> Iterator[Head]:
        """Yield what was kept before, and drop what is damaged; waits for each part."""
        after = ""
        while found := self._thread.submit(self._heads, after).result():
            damaged = []
            for entry, sealed in found:
                head = self._seal.open(entry, sealed, Head)
                if head is None:
                    damaged.append(entry)
                else:
                    yield head
            after = found[-1][0]
            if damaged:
                log.warning("damaged entries are dropped", entries=len(damaged))
                self._thread.submit(self._delete, damaged).result()

    async def answer(self, entry: str) -> Answer | None:
        """Return an entry's answer, None if it is gone or damaged. Raises StoreError."""
        sealed = await self._run(lambda: self._answer(entry))
        return None if sealed is None else self._seal.open(entry, sealed, Answer)

    async def put(self, head: Head, answer: Answer) -> None:
        """Keep an entry in place of one with its id. Raises StoreError."""
        sealed = (self._seal.close(head.id, head), self._seal.close(head.id, answer))
        await self._run(lambda: self._put(head.id, *sealed))

    async def purge(self, what: Purged, entries: Sequence[str]) -> None:  # noqa: ARG002 - is alone
        """Drop entries. Raises StoreError."""
        await self.delete(entries)

    async def delete(self, entries: Sequence[str]) -> None:
        """Drop entries; those that aren't there are no error. Raises StoreError."""
        await self._run(lambda: self._delete(entries))

    async def expired(self, entries: Sequence[str]) -> None:
        """Drop entries whose time is over. Raises StoreError."""
        await self.delete(entries)

    def labels(self) -> list[Label]:
        """Return the labels of hits, the oldest first."""
        return self._thread.submit(self._labels).result()

    async def label(self, label: Label) -> None:
        """Keep a label, in place of the oldest where there are too many. Raises StoreError."""
        await self._run(lambda: self._label(self._seal.close_label(label)))

    async def close(self) -> None:
        """Write what waits, and close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._base.close)
        self._thread.shutdown()
        if self._lock is not None:
            os.close(self._lock)

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._waiting >= MOST_WAITING:
            raise StoreError("the disk is too slow: too much waits for it")
        self._waiting += 1
        done = asyncio.get_running_loop().run_in_executor(self._thread, work)
        done.add_done_callback(self._went)
        try:
            return await asyncio.shield(done)
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    def _went(self, done: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not done.cancelled():
            done.exception()  # whoever waited may have left

    def _opened(self) -> sqlite3.Connection:
        try:
            return _open(self._path, self._most)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise OSError(f"{self._path} can't be opened: {error}") from error
            log.warning("a damaged cache is put aside", file=self._path, problem=str(error))
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(self._path + suffix):
                os.replace(self._path + suffix, f"{self._path}.damaged{suffix}")
        return _open(self._path, self._most)

    def _heads(self, after: str) -> list[tuple[str, bytes]]:
        query = "SELECT id, head FROM heads WHERE id > ? ORDER BY id LIMIT ?"
        return self._base.execute(query, (after, _AT_ONCE)).fetchall()

    def _answer(self, entry: str) -> bytes | None:
        row = self._base.execute("SELECT answer FROM answers WHERE id = ?", (entry,)).fetchone()
        return None if row is None else row[0]

    def _put(self, entry: str, head: bytes, answer: bytes) -> None:
        with self._base:
            self._base.execute("INSERT OR REPLACE INTO heads VALUES (?, ?)", (entry, head))
            self._base.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (entry, answer))

    def _labels(self) -> list[Label]:
        found = self._base.execute("SELECT label FROM labels ORDER BY number").fetchall()
        read = (self._seal.label(sealed) for (sealed,) in found)
        return [label for label in read if label is not None]

    def _label(self, label: bytes) -> None:
        with self._base:
            done = self._base.execute("INSERT INTO labels (label) VALUES (?)", (label,))
            old = (done.lastrowid or 0) - MOST_LABELS
            self._base.execute("DELETE FROM labels WHERE number <= ?", (old,))

    def _delete(self, entries: Sequence[str]) -> None:
        rows = [(entry,) for entry in entries]
        with self._base:
            self._base.executemany("DELETE FROM heads WHERE id = ?", rows)
            self._base.executemany("DELETE FROM answers WHERE id = ?", rows)


def _open(path: str, most: int | None) -> sqlite3.Connection:
    base = sqlite3.connect(path, timeout=_WAITS, check_same_thread=True)
    try:
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=NORMAL")
        if most is not None:
            (size,) = base.execute("PRAGMA page_size").fetchone()
            base.execute(f"PRAGMA max_page_count={max(1, most // size)}")
        base.execute("PRAGMA secure_delete=ON")  # what was purged isn't on the disk either
        with closing(base.execute("PRAGMA quick_check(1)")) as checked:
            said = checked.fetchone()[0]
        if said != "ok":
            raise sqlite3.DatabaseError(said)
        (version,) = base.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            with base:
                for table in ("heads", "answers", "labels"):
                    base.execute(f"DROP TABLE IF EXISTS {table}")
            base.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={_VERSION};COMMIT;")
    except BaseException:
        base.close()
        raise
    return base


def _lock(folder: Path) -> int:
    """Keep the folder for ourselves, until the process ends however it does."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise InputError(
            str(folder), "another sidecar keeps its answers there", "Give each its own --data."
        ) from error
    # Before SQLite would make it readable for others; its -wal and -shm take the same mode.
    os.close(os.open(folder / "cache.db", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    return lock

"""Durable record of billed requests and their answers, in an SQLite database."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import ErrorCode
from craft_zoo.server.accounts import Account
from craft_zoo.server.errors import Refusal

_FILE = "serve-1.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, key TEXT NOT NULL,
    digest BLOB NOT NULL, predictions INTEGER NOT NULL, scores INTEGER NOT NULL,
    time REAL NOT NULL, UNIQUE (account, key)
);
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY REFERENCES requests, account TEXT NOT NULL,
    size INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_account ON answers (account, number, size);
CREATE TABLE IF NOT EXISTS usage (
    account TEXT PRIMARY KEY, predictions INTEGER NOT NULL, scores INTEGER NOT NULL,
    requests INTEGER NOT NULL, stored INTEGER NOT NULL
);
"""


@dataclass(frozen=True)
class Bill:
    """Cost of an answer: numbers of (prompt, image) pairs and (prompt, image, class) triples."""

    predictions: int
    scores: int


@dataclass(frozen=True)
class Entry:
    """An answered request that has not been billed yet.

    Attributes:
        key: idempotency key of the request, unique within the account.
        digest: SHA-256 of everything that determines the answer.
        is_kept: whether the answer is stored, so that it can be sent again.
    """

    account: Account
    key: str
    digest: bytes
    bill: Bill
    body: bytes
    is_kept: bool = True


@dataclass(frozen=True)
class Recorded:
    """A request that was billed; ``body`` is None if the answer is no longer stored."""

    bill: Bill
    body: bytes | None


@dataclass(frozen=True)
class Used:
    """Total usage of an account: sums of its bills, and number of requests billed."""

    predictions: int = 0
    scores: int = 0
    requests: int = 0


class State:
    """Billed requests and their answers. Use it in one thread at a time.

    Args:
        folder: folder of the database; created when needed; None: the database is in memory.
        stored_bytes: limit of each account's stored answers; the newest answer may exceed it.

    Raises:
        CraftZooError: the folder cannot be used, or another process uses it.
    """

    def __init__(self, folder: Path | None, stored_bytes: int) -> None:
        self._stored_bytes = stored_bytes
        self._waiting: deque[tuple[Entry, Future[Recorded]]] = deque()
        self._lock = None if folder is None else _locked(folder)
        path = ":memory:" if folder is None else str(folder / _FILE)
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            # A bill must be on disk before the answer is sent, to survive a power failure.
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_TABLES)
        except sqlite3.Error as error:
            if self._lock:
                self._lock.release()
            raise CraftZooError(
                f"the state in {folder} cannot be used ({error}): check the disk, or name another "
                f"folder"
            ) from None

    def find(self, account: str, key: str, digest: bytes) -> tuple[Recorded | None, Used]:
        """The billed request with this key, or None, and the usage of the account.

        Raises:
            Refusal: the key was used with another digest.
        """
        return self._find(account, key, digest), self.usage(account)

    def enqueue(self, entry: Entry) -> Future[Recorded]:
        """Let a request wait for the next transaction. It may be called in any thread."""
        future: Future[Recorded] = Future()
        self._waiting.append((entry, future))
        return future

    def record_waiting(self, future: Future[Recorded]) -> Recorded:
        """Record all waiting requests in one transaction; the outcome of the one with the future.

        Raises:
            Refusal: the quota does not cover it, or its key was used with another digest.
            sqlite3.Error: the disk fails.
        """
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        outcomes: Sequence[Recorded | Exception]
        try:
            outcomes = self.record([entry for entry, _ in waiting])
        except Exception as error:  # every waiting future must get an outcome
            outcomes = [error] * len(waiting)
        for (_, each), outcome in zip(waiting, outcomes, strict=True):
            if isinstance(outcome, Exception):
                each.set_exception(outcome)
            else:
                each.set_result(outcome)
        return future.result()

    def record(self, entries: Sequence[Entry]) -> list[Recorded | Refusal]:
        """Bill requests and store their answers in one transaction, so that the disk syncs once.

        Returns:
            For each entry, the recorded request, which is not billed again if its key was billed
            before; or a refusal if the quota does not cover it or the key was used with another
            digest.
        """
        if not entries:
            return []
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            return [self._record_one(entry) for entry in entries]

    def usage(self, account: str) -> Used:
        """Total usage of an account."""
        row = self._database.execute(
            "SELECT predictions, scores, requests FROM usage WHERE account = ?", (account,)
        ).fetchone()
        return Used(*row) if row else Used()

    def close(self) -> None:
        """Close the database. All records have been written to disk by then."""
        self._database.close()
        if self._lock:
            self._lock.release()

    def _record_one(self, entry: Entry) -> Recorded | Refusal:
        account, key, digest = entry.account, entry.key, entry.digest
        try:  # check everything before writing, as a refusal does not roll the transaction back
            known = self._find(account.name, key, digest)
            if known is None:
                check_quota(account, self.usage(account.name), entry.bill)
        except Refusal as refusal:
            return refusal
        if known and known.body is not None:
            return known
        if known is None:
            self._add(account.name, key, digest, entry.bill)
        if entry.is_kept:
            self._store(account.name, key, entry.body)
        return Recorded(known.bill if known else entry.bill, entry.body)

    def _find(self, account: str, key: str, digest: bytes) -> Recorded | None:
        row = self._database.execute(
            "SELECT digest, predictions, scores, body FROM requests LEFT JOIN answers "
            "USING (number) WHERE requests.account = ? AND key = ?",
            (account, key),
        ).fetchone()
        if row is None:
            return None
        if row[0] != digest:
            raise Refusal(
                ErrorCode.CONFLICT,
                "the Idempotency-Key was used for another request: use a new one for each question",
            )
        return Recorded(Bill(row[1], row[2]), row[3])

    def _add(self, account: str, key: str, digest: bytes, bill: Bill) -> None:
        self._database.execute(
            "INSERT INTO requests (account, key, digest, predictions, scores, time) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (account, key, digest, bill.predictions, bill.scores, time.time()),
        )
        self._database.execute(
            "INSERT INTO usage VALUES (?, ?, ?, 1, 0) ON CONFLICT (account) DO UPDATE SET "
            "predictions = predictions + excluded.predictions, "
            "scores = scores + excluded.scores, requests = requests + 1",
            (account, bill.predictions, bill.scores),
        )

    def _store(self, account: str, key: str, body: bytes) -> None:
        (number,) = self._database.execute(
            "SELECT number FROM requests WHERE account = ? AND key = ?", (account, key)
        ).fetchone()
        self._database.execute(
            "INSERT INTO answers VALUES (?, ?, ?, ?)", (number, account, len(body), body)
        )
        (stored,) = self._database.execute(
            "UPDATE usage SET stored = stored + ? WHERE account = ? RETURNING stored",
            (len(body), account),
        ).fetchone()
        while stored > self._stored_bytes:
            oldest = self._database.execute(
                "SELECT number, size FROM answers WHERE account = ? AND number != ? "
                "ORDER BY number LIMIT 1",
                (account, number),
            ).fetchone()
            if oldest is None:
                break
            self._database.execute("DELETE FROM answers WHERE number = ?", oldest[:1])
            stored -= oldest[1]
        self._database.execute("UPDATE usage SET stored = ? WHERE account = ?", (stored, account))


def check_quota(account: Account, used: Used, bill: Bill) -> None:
    """Check that an account's quota covers a bill.

    Raises:
        Refusal: the quota would be exceeded.
    """
    if account.quota is not None and used.predictions + bill.predictions > account.quota:
        raise Refusal(
            ErrorCode.QUOTA_EXCEEDED,
            f"{bill.predictions:,} more predictions would exceed the quota of {account.quota:,} "
            f"({used.predictions:,} made): ask for fewer, or the model's owner for more",
        )


def _locked(folder: Path) -> FileLock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", thread_local=False)
        lock.acquire(timeout=0)
    except Timeout:
        raise CraftZooError(
            f"another server keeps its state in {folder}: stop it, or name another folder"
        ) from None
    except OSError as error:
        raise CraftZooError(
            f"the folder {folder} cannot be used ({error.strerror}): name another"
        ) from None
    return lock

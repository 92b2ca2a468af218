"""Idempotency keys: a server that receives one twice answers from memory and bills once."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import Counter


class QuestionKeys:
    """Makes the key of each question.

    A key is a hash of the session, of the question, and of how often the session has asked it
    before: asking it anew on purpose makes another key, sending it again after an error does not.
    A named question has its name in place of the session, so that another process that continues
    the work makes the same key.

    Args:
        session: any text; None: a random one.
    """

    def __init__(self, session: str | None = None) -> None:
        self._session = secrets.token_hex(16) if session is None else session
        self._asked: Counter[bytes] = Counter()
        self._lock = threading.Lock()
        self._next = threading.local()  # the thread that names a question also asks it

    def name_next(self, name: str) -> None:
        """Name the question that this thread asks next."""
        self._next.name = name

    def take_name(self) -> str | None:
        """The name of the next question, which is then cleared; None: it has none."""
        name = getattr(self._next, "name", None)
        self._next.name = None
        return name

    def key(self, question: bytes, name: str | None = None) -> str:
        """The key of a question that is asked now.

        Args:
            question: its content, or a hash of it.
            name: see :meth:`take_name`.
        """
        content = hashlib.sha256(question).digest()
        if name is not None:
            return _hash("named", name, content.hex(), "0")
        with self._lock:
            before = self._asked[content]
            self._asked[content] += 1
        return _hash("session", self._session, content.hex(), str(before))


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()

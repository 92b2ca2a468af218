"""Idempotency keys. A server that receives a key twice returns the stored answer, billed once."""

from __future__ import annotations

import secrets
import threading
from collections import Counter

from craft_zoo.protocol import digest, digest_of_texts


class QuestionKeys:
    """Makes idempotency keys.

    A key is a hash of the session, the question, and the number of times the session has asked it
    before, so that an intended repetition gets a new key. A retry reuses the key of its question. A
    named question uses its name in place of the session, so that a process that resumes the work
    makes the same key.

    Args:
        session: name of the session; None: a random one.
    """

    def __init__(self, session: str | None = None) -> None:
        self._session = secrets.token_hex(16) if session is None else session
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._next = threading.local()  # a question is named and asked by the same thread

    def name_next(self, name: str) -> None:
        """Set the name of this thread's next question."""
        self._next.name = name

    def take_name(self) -> str | None:
        """Return and clear the name of this thread's next question; None: it has no name."""
        name = getattr(self._next, "name", None)
        self._next.name = None
        return name

    def key(self, question: bytes, name: str | None = None) -> str:
        """Make the key of a question and count the question.

        Args:
            question: content of the question, or a hash of it.
            name: its name, see :meth:`take_name`.
        """
        content = digest(question)
        if name is not None:
            return digest_of_texts("named", name, content, "0")
        with self._lock:
            before = self._asked[content]
            self._asked[content] += 1
        return digest_of_texts("session", self._session, content, str(before))

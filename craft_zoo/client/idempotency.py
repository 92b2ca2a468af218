"""Names of questions, by which a server answers a repeated one from memory and bills it once."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import Counter


class QuestionKeys:
    """Makes the key of each question.

    It is a hash of the session, of the question, and of how often this was asked before in the
    session: to ask the same on purpose is another question, to send it again is not. Where the
    asker has a name for what is asked next, the name is the session, so that another process that
    goes on with the work finds the same key.

    Args:
        session: any text; None: a random one.
    """

    def __init__(self, session: str | None = None) -> None:
        self._session = secrets.token_hex(16) if session is None else session
        self._asked: Counter[bytes] = Counter()
        self._lock = threading.Lock()
        self._next = threading.local()  # who names a question asks it

    def name_next(self, name: str) -> None:
        """Name what this thread asks next."""
        self._next.name = name

    def take_name(self) -> str | None:
        """The name, which is then used up."""
        name = getattr(self._next, "name", None)
        self._next.name = None
        return name

    def key(self, question: bytes, name: str | None = None) -> str:
        """The key of a question that is asked now.

        Args:
            question: all of it, or its hash.
            name: that it was given.
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

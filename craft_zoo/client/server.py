"""The server of a model, as a client sees it: whole answers, or a sentence that says why not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from craft_zoo.client.http import (
    BUSY,
    Answer,
    Http,
    checked_key,
)
from craft_zoo.client.retrying import Damaged, Retrying, Transient
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import sentence
from craft_zoo.protocol import DIGEST_HEADER, ErrorCode, digest

if TYPE_CHECKING:
    import httpx

Result = TypeVar("Result")

KEY_VARIABLE = "CRAFT_ZOO_API_KEY"
JSON = "application/json"

MISREAD = (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError)
"""What reading JSON fails with that has another form than was expected."""

_STRANGE = 5  # answers that no server of ours gives, until it is taken for none


class Refused(CraftZooError):  # noqa: N818, an event rather than a mistake
    """The server refused a request for good.

    Attributes:
        code: why, one of :class:`craft_zoo.protocol.ErrorCode`.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Server:
    """Asks until there is a whole answer.

    Args:
        url: of the server.
        api_key: None: the environment's ``CRAFT_ZOO_API_KEY``.
        timeout: seconds that an answer may take.
        retrying: how long a request is tried.
        transport: stands in for the network.

    Raises:
        CraftZooError: see :class:`Http`; or the key is none.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        timeout: float,
        retrying: Retrying,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        key = os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key
        key = checked_key(key, KEY_VARIABLE)
        self._has_key = bool(key)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = Http(url, headers, timeout, transport)
        self.url, self._retrying = self._http.url, retrying

    def ask(
        self,
        method: str,
        path: str,
        read: Callable[[Answer], Result],
        *,
        body: bytes | None = None,
        kind: str = JSON,
        headers: Mapping[str, str] | None = None,
        most: int = 0,
    ) -> Result:
        """What ``read`` makes of the answer.

        Args:
            method: of HTTP.
            path: one of :mod:`craft_zoo.protocol.paths`, with its ids.
            read: may raise :class:`Transient` where the answer cannot be of this request.
            body: of the request.
            kind: its content type.
            headers: of this request.
            most: bytes of the answer that is expected.

        Raises:
            Refused: the server did, for good.
            CraftZooError: it does not answer, or is no server of this protocol.
        """
        sent = dict(headers or {})
        if body is not None:
            sent |= {"Content-Type": kind, DIGEST_HEADER: digest(body)}

        def attempt() -> Result:
            try:
                return read(self._whole(self._http.send(method, path, body, sent, most=most)))
            except Damaged:
                self._http.reconnect()
                raise

        return self._retrying(attempt, f"server {self.url}")

    def ask_json(
        self, method: str, path: str, about: Any = None, *, most: int = 0
    ) -> dict[str, Any]:
        """The object that a request with an object, or without a body, is answered with."""
        body = None if about is None else json.dumps(about).encode()
        return self.ask(method, path, as_object, body=body, most=most)

    def tell(self, method: str, path: str) -> None:
        """Ask once, for what does no harm where it fails."""
        with suppress(Transient, CraftZooError):
            self._http.send(method, path)

    def strange(self, what: str) -> CraftZooError:
        """The error of a server that does not keep to the protocol."""
        return CraftZooError(f"{self.url} {what}: check its version, or ask its owner")

    def forgetful(self) -> CraftZooError:
        """The error of a server that keeps nothing long enough to be asked about it."""
        return CraftZooError(
            f"{self.url} forgets images or class names before it is asked about them: ask with "
            f"fewer images, or ask its owner for more memory"
        )

    def replaced(self) -> CraftZooError:
        """The error of a server that is not what it was at first."""
        return CraftZooError(
            f"{self.url} serves another model than the run began with, or answers in another "
            f"form: begin anew, or ask its owner"
        )

    def _whole(self, answer: Answer) -> Answer:
        """An answer that is as it was sent, and good."""
        expected = answer.headers.get(DIGEST_HEADER.lower())
        if expected is None:  # not ours, or from a proxy before it
            if answer.status in BUSY or answer.status >= 500:
                raise Transient(f"HTTP {answer.status}", answer.retry_after)
            if answer.status == 413:
                raise CraftZooError(
                    f"a proxy before {self.url} refuses large requests: ask its owner to allow them"
                )
            raise _strange(f"HTTP {answer.status} without a digest")
        if digest(answer.body) != expected:
            raise Damaged("its answer came damaged")
        if 200 <= answer.status < 300:
            return answer
        raise self._refusal(answer)

    def _refusal(self, answer: Answer) -> Exception:
        try:
            error = _parsed(answer)["error"]
            code, message = str(error["code"]), sentence(str(error["message"]))
        except MISREAD:
            return _strange(f"HTTP {answer.status} without a reason")
        if code == ErrorCode.BAD_DIGEST:
            return Damaged("the request came there damaged")
        if answer.status in BUSY:
            return Transient(message, answer.retry_after)
        if answer.status >= 500:
            return Transient(message, attempts=_STRANGE)
        if answer.status == 401 and KEY_VARIABLE not in message:
            fault = "does not know the API key" if self._has_key else "asks for an API key"
            message = f"{self.url} {fault} ({message.rstrip('.')}): set {KEY_VARIABLE}"
        return Refused(code, message)


def as_object(answer: Answer) -> dict[str, Any]:
    """The JSON object that the answer is.

    Raises:
        Transient: it is none.
    """
    about = _parsed(answer)
    if not isinstance(about, dict):
        raise _strange("its answer is no JSON object")
    return about


def _strange(what: str) -> Damaged:
    """An answer that is not of the protocol: damaged on its way, or from somebody else."""
    return Damaged(f"{what}, as no server of craft-zoo answers", attempts=_STRANGE)


def _parsed(answer: Answer) -> Any:
    """The JSON that the answer is, None where it is none."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None

"""Client of ``craft-zoo serve``: verified answers, retries, and error messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from craft_zoo.client.failures import MISREAD, TIMED_OUT
from craft_zoo.client.http import Answer, Http, checked_key
from craft_zoo.client.retrying import Damaged, Retrying, Transient
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable, sentence
from craft_zoo.protocol import DIGEST_HEADER, ErrorCode, digest, paths

if TYPE_CHECKING:
    import httpx

Result = TypeVar("Result")

KEY_VARIABLE = "CRAFT_ZOO_API_KEY"
JSON, BYTES = "application/json", "application/octet-stream"
ANSWER_BYTES = 2**26  # maximum size of an answer that the client requests
_BODY_BYTES = 2**25  # maximum size of a request body
_IMAGES = 2**13  # maximum size of a set; with ImageNet's 1000 classes, an answer has 32 MB
_ACCEPTS = frozenset({"contexts", "texts"})
_BUSY = frozenset({429, 502, 503, 504})

_DESCRIBED = 200  # characters of a value in a description, which adapters and records hold
_UNEXPECTED_ATTEMPTS = 5  # attempts after which answers unlike craft-zoo's are a permanent failure


class Refused(CraftZooError):  # noqa: N818, an expected condition rather than an error
    """The server refused a request permanently.

    Attributes:
        code: reason, a value of :class:`craft_zoo.protocol.ErrorCode`.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class ServerInfo:
    """Description of a served model.

    Attributes:
        name: name given by the owner.
        image_size: height and width of the model's input, in pixels.
        accepts: kinds of prompts, see :attr:`craft_zoo.blackbox.BlackBox.accepts`.
        answers: logits or log_probabilities; "" if the server does not say.
        top_k: number of largest scores of each image that are returned unchanged; None: all.
        fingerprint: hash of the model's weights; "" if the server does not say.
        in_flight: maximum number of prompts in a request.
        images: maximum number of images in a set.
        answer_bytes: maximum size of an answer.
        body_bytes: maximum size of a request body.
    """

    name: str
    image_size: int
    accepts: frozenset[str]
    answers: str
    top_k: int | None
    fingerprint: str
    in_flight: int
    images: int
    answer_bytes: int
    body_bytes: int

    @property
    def described(self) -> dict[str, str]:
        """The known values that tell which model answers, and in which form, without limits."""
        values = {
            "name": self.name,
            "image_size": str(self.image_size),
            "accepts": " and ".join(sorted(self.accepts)),
            "answers": self.answers,
            "top_k": str(self.top_k or "all"),
            "fingerprint": self.fingerprint,
        }
        return {name: value[:_DESCRIBED] for name, value in values.items() if value}


class Server:
    """Sends requests to a server and retries until an answer is complete.

    Args:
        url: URL of the server.
        api_key: API key; None: the environment variable ``CRAFT_ZOO_API_KEY``.
        timeout: seconds for a whole exchange, see :class:`Http`.
        retrying: retry policy.
        transport: replaces the network in tests.

    Raises:
        CraftZooError: see :class:`Http`; or the key is invalid.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        timeout: float,
        retrying: Retrying,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        key = checked_key(api_key, KEY_VARIABLE)
        self._has_key = bool(key)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = Http(url, headers, timeout, transport)
        self.url, self._retrying = self._http.url, retrying

    def retry_for(self, seconds: float) -> None:
        """See :meth:`VLM.retry_for`."""
        self._retrying = replace(self._retrying, seconds=seconds)

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
        """Send a request and return the answer as parsed by ``read``.

        Args:
            method: HTTP method.
            path: one of :mod:`craft_zoo.protocol.paths`, with ids inserted.
            read: parses the answer; raises :class:`Transient` if it belongs to another request.
            body: body of the request.
            kind: content type of the body.
            headers: further headers.
            most: expected maximum size of the answer, in bytes.

        Raises:
            Refused: the server refused the request permanently.
            CraftZooError: the server does not answer, or does not follow the protocol.
        """
        sent = dict(headers or {})
        if body is not None:
            sent |= {"Content-Type": kind, DIGEST_HEADER: digest(body)}

        def attempt() -> Result:
            with self._http.reconnecting():
                return read(self._verified(self._http.send(method, path, body, sent, most=most)))

        return self._retrying(attempt, f"server {self.url}")

    def ask_json(
        self, method: str, path: str, about: Any = None, *, most: int = 0
    ) -> dict[str, Any]:
        """Send a request with a JSON body, or none, and return the JSON object of the answer."""
        body = None if about is None else json.dumps(about).encode()
        return self.ask(method, path, as_object, body=body, most=most)

    def info(self) -> ServerInfo:
        """Request the description of the served model.

        Raises:
            CraftZooError: the server does not answer or serves no model, or its answer is invalid.
        """
        try:
            about = self.ask_json("GET", paths.MODEL)
        except Refused as refusal:
            if refusal.code != ErrorCode.NOT_FOUND:
                raise
            raise CraftZooError(
                f"{self.url} serves no model, only an adapter: ask its owner to serve the model "
                f"too (craft-zoo serve --with-model)"
            ) from None
        try:
            limits, top_k = about.get("limits") or {}, about.get("top_k")
            in_flight = int(about["in_flight"])
            served = ServerInfo(
                name=printable(str(about["name"])),
                image_size=int(about["image_size"]),
                accepts=frozenset(about["accepts"]) & _ACCEPTS,
                answers=printable(str(about.get("answers") or "")),
                top_k=None if top_k is None else int(top_k),
                fingerprint=printable(str(about.get("fingerprint") or "")),
                in_flight=min(in_flight, int(limits.get("contexts", in_flight))),
                images=min(_IMAGES, int(limits.get("images", _IMAGES))),
                answer_bytes=int(limits.get("answer_bytes", ANSWER_BYTES)),
                body_bytes=min(_BODY_BYTES, int(limits.get("body_bytes", _BODY_BYTES))),
            )
        except MISREAD:
            raise self.protocol_error("describes its model in an unexpected form") from None
        least = min(served.in_flight, served.image_size, served.images, served.answer_bytes)
        if least < 1 or not served.accepts:
            raise self.protocol_error("describes a model that cannot be queried")
        return served

    def send_ignoring_errors(self, method: str, path: str) -> None:
        """Send a request once and ignore failures."""
        with suppress(Transient, CraftZooError):
            self._http.send(method, path)

    def protocol_error(self, what: str) -> CraftZooError:
        """The error for a server that violates the protocol."""
        return CraftZooError(f"{self.url} {what}: check its version, or ask its owner")

    def eviction_error(self) -> CraftZooError:
        """The error for a server that drops data before it can be used."""
        return CraftZooError(
            f"{self.url} drops images or class names before they are queried: use fewer "
            f"images, or ask its owner for more memory"
        )

    def _verified(self, answer: Answer) -> Answer:
        """Return the answer after verifying its digest and status."""
        expected = answer.headers.get(DIGEST_HEADER.lower())
        if expected is None:  # from a proxy or another server
            if answer.status == 429 or (answer.status >= 500 and answer.status != 501):
                late = answer.status in TIMED_OUT
                raise Transient(f"HTTP {answer.status}", answer.retry_after, billed=late)
            if answer.status == 413:
                raise CraftZooError(
                    f"a proxy in front of {self.url} refuses large requests: ask its "
                    f"owner to allow them"
                )
            raise _unexpected(f"HTTP {answer.status} without a digest")
        if digest(answer.body) != expected:
            raise Damaged("its answer was damaged on the way", billed=True)
        if 200 <= answer.status < 300:
            return answer
        raise self._refusal(answer)

    def _refusal(self, answer: Answer) -> Exception:
        try:
            error = answer.json["error"]
            code, message = str(error["code"]), sentence(str(error["message"]))
        except MISREAD:
            return _unexpected(f"HTTP {answer.status} without a reason")
        if code == ErrorCode.BAD_DIGEST:
            return Damaged("the request was damaged on the way")
        if answer.status in _BUSY:
            return Transient(message, answer.retry_after)
        if answer.status >= 500:
            return Transient(message, attempts=_UNEXPECTED_ATTEMPTS)
        if answer.status == 401:
            fault = "does not know the API key" if self._has_key else "asks for an API key"
            message = f"{self.url} {fault} ({message.rstrip('.')}): set {KEY_VARIABLE}"
        return Refused(code, message)


def as_object(answer: Answer) -> dict[str, Any]:
    """The answer's body as a JSON object.

    Raises:
        Transient: it is no JSON object.
    """
    if not isinstance(answer.json, dict):
        raise _unexpected("its answer is no JSON object")
    return answer.json


def _unexpected(what: str) -> Damaged:
    """The error for an answer that violates the protocol, possibly because it was damaged."""
    return Damaged(f"{what}, unlike a craft-zoo server", attempts=_UNEXPECTED_ATTEMPTS)

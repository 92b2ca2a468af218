"""OpenAI's official client, and the base class of services that it asks questions."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.deadlines import deadline, keep_deadlines
from craft_zoo.client.failures import status_failure, useless
from craft_zoo.client.http import (
    checked_key,
    checked_url,
    connection_failure,
    message_of,
    reading_environment,
    redirection,
    timeouts,
)
from craft_zoo.client.question_service import QuestionService, request_usage
from craft_zoo.client.retrying import Transient, seconds_of
from craft_zoo.client.services import OpenAIOptions
from craft_zoo.errors import CraftZooError, needs_extra
from craft_zoo.printable import sentence
from craft_zoo.protocol import IDEMPOTENCY_HEADER

if TYPE_CHECKING:
    import openai

KEY = "OPENAI_API_KEY"
_WHOLE = 10  # times the time-out of each wait: the deadline for a whole exchange
_OPENAI, _URL = "https://api.openai.com/v1", "OPENAI_BASE_URL"
_LOG = logging.getLogger("craft_zoo.blackbox")
# OpenAI's sentence, which litellm quotes without its code (Google's begins alike, and is about
# requests a minute), and litellm's own on the budget of a key, a team or a user.
_NO_QUOTA = re.compile(
    r"exceeded your current quota(?!.*rate-limit)"
    r"|budget has been exceeded|exceeded ?budget|over budget|crossed budget"
    r"|credit balance is too low|insufficient (balance|credits?|funds)",
    re.IGNORECASE | re.DOTALL,
)
_TOO_SHORT = "output limit was reached"  # of OpenAI's models that think
_EFFORT = "reasoning_effort"


class OpenAIClient:
    """The client of a service that speaks OpenAI's protocol; needs the extra ``openai``.

    The environment's settings of the official client hold: organisation, project and proxies.

    Args:
        url: base URL, which usually ends in /v1; None: OpenAI's.
        key: API key; None: the one in the environment.
        timeout: seconds to wait for the next byte; a whole exchange has ten times as long.
        variable: environment variable of the key.
        owner: vendor that needs a key, for messages; None: the service at ``url``, with or without
        a key.

    Attributes:
        who: the service, for messages.

    Raises:
        CraftZooError: the package openai or the key is missing, or the URL is invalid.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        timeout: float = 60.0,
        *,
        variable: str = KEY,
        owner: str | None = None,
    ) -> None:
        with needs_extra("openai", url or "OpenAI"):
            import openai  # noqa: F401, before a key is asked for
        key = checked_key(key, variable)
        owner = "OpenAI" if url is None else owner
        if owner and not key:
            raise CraftZooError(f"{owner} needs a key: set {variable}")
        self.who = owner or f"the service {checked_url(str(url))}"
        self._variable = variable
        self._key, self._timeout, self._answered = key, timeout, False
        self._unbilled = threading.Lock()  # held once an answer without usage was warned of
        self._changes: dict[str, Any] = {}  # of arguments that the service has rejected
        self._url = url
        self._connect()

    @property
    def client(self) -> openai.OpenAI:
        """The official client, with connections of this process alone."""
        if self._process != os.getpid():  # a forked process must not use its parent's connections
            self._connect()
        return self._connected

    def _connect(self) -> None:
        import openai

        with reading_environment(self._url or "OpenAI"):
            connections = openai.DefaultHttpxClient(follow_redirects=False)
        keep_deadlines(connections)
        waits: Any = timeouts(self._timeout)  # of httpx, which the client takes as well as httpx2's
        # Retries are made by craft_zoo.client.Retrying, which an interruption ends at once.
        self._process = os.getpid()
        self._connected = openai.OpenAI(
            base_url=self._url or _OPENAI,
            api_key=self._key or "none",
            timeout=waits,
            max_retries=0,
            http_client=connections,
        )

    def poster(self, path: str) -> Callable[..., Any]:
        """A method for :meth:`call` that posts its arguments as JSON.

        Args:
            path: route of another protocol, relative to the base URL.
        """
        import httpx

        def create(*, extra_headers: dict[str, str], **body: Any) -> Any:
            options: Any = {"headers": extra_headers}
            return self.client.post(path, cast_to=httpx.Response, body=body, options=options)

        return create

    def call(self, create: Callable[..., Any], request: dict[str, Any], key: str) -> dict[str, Any]:
        """Send a request once, and return the body of the answer.

        What the service has rejected, but is not needed, is left out: see :func:`changes`.

        Args:
            create: a method of :attr:`client` with the prefix ``with_raw_response``, or
                :meth:`poster`.
            request: its arguments.
            key: idempotency key; services that do not know it ignore it.

        Raises:
            Transient: the request may be sent again.
            CraftZooError: the service rejects the request.
        """
        import openai

        began, allowed = time.monotonic(), _WHOLE * self._timeout
        sent = request | self._changes if self._changes else request
        sent = {name: value for name, value in sent.items() if value is not None}
        try:
            with deadline(allowed):
                answer = create(**sent, extra_headers={IDEMPOTENCY_HEADER: key})
            self._answered = True
            body = json.loads(answer.content)
        except openai.APIConnectionError as error:
            late = allowed if time.monotonic() - began >= allowed else None
            cause = error.__cause__
            raise connection_failure(
                self._address,
                cause if isinstance(cause, Exception) else error,
                self._timeout,
                late=late,
                heard=self._answered,
            ) from None
        except openai.APIStatusError as error:
            self._answered = True
            headers = error.response.headers
            path = str(error.request.url).removeprefix(self._address)
            redirected = redirection(self._address, path, error.status_code, headers)
            if redirected is not None:
                raise redirected from None
            after = seconds_of(headers.get("retry-after"))
            said = message_of(error.body) or sentence(error.message, 300)
            raise self._refused(error.status_code, error.code, said, sent, after) from None
        except (ValueError, RecursionError):
            raise useless("its answer is no JSON") from None
        if not isinstance(body, dict):
            raise useless("its answer is no JSON object")
        if (found := _fault_in(body)) is not None:
            code = found["error"].get("code")
            status = code if isinstance(code, int) and 400 <= code < 600 else 502
            raise self._refused(status, code, message_of(found), sent)
        return body

    def usage(self, body: dict[str, Any], estimate: Callable[[], Usage]) -> Usage:
        """The usage of a chat completion, or its estimate where it lacks a number of tokens.

        Raises:
            AttributeError, TypeError, ValueError: it is malformed.
        """
        said = body.get("usage") or {}
        asked, answered = said.get("prompt_tokens"), said.get("completion_tokens")
        if asked is not None and answered is not None:
            # Gemini counts thoughts, which are billed as output, in the total alone.
            total = float(said.get("total_tokens") or 0)
            return request_usage(asked, max(float(answered), total - float(asked)))
        self.warn_unbilled()
        return estimate()

    def warn_unbilled(self) -> None:
        """Warn once that answers do not say what they cost."""
        if self._unbilled.acquire(blocking=False):
            _LOG.warning("%s does not say its usage, so that tokens are estimates", self.who)

    @property
    def _address(self) -> str:
        return str(self.client.base_url).rstrip("/")

    def _refused(
        self, status: int, code: Any, said: str, sent: dict[str, Any], after: float = 0.0
    ) -> Exception:
        said_over = status in (400, 429) and not after and _NO_QUOTA.search(said)
        if said_over or (status == 429 and code == "insufficient_quota"):
            status = 402
        elif status == 409:  # a lock, for which OpenAI's client waits too
            status = 429
        if status in (400, 422) and (changed := changes(sent, said)):
            # What another request has found to be rejected stays left out.
            changed = {
                name: value
                for name, value in changed.items()
                if self._changes.get(name, value) is not None or value is None
            }
            if not changed.items() <= self._changes.items():
                self._changes |= changed
                words = [
                    f"without {name}" if value is None else f"with {name}={value}"
                    for name, value in changed.items()
                ]
                _LOG.warning("%s is asked %s (%s)", self.who, " and ".join(words), said)
            return Transient(said)
        mend = "check model and images"
        if _TOO_SHORT in said:
            mend = "raise answer_tokens"
        elif _EFFORT in said and _EFFORT in sent:
            mend = f"set {_EFFORT} to a value that the model knows, or leave it out"
        together = (sent.get(name) for name in ("input", "inputs", "images", "texts"))
        return status_failure(
            self.who,
            status,
            said,
            inputs=max((len(each) for each in together if isinstance(each, list)), default=1),
            variable=self._variable,
            has_key=bool(self._key),
            after=after,
            mend=mend,
        )


def environment_url() -> str | None:
    """The base URL in OPENAI_BASE_URL, by which the official client is led to a gateway.

    It becomes a part of the model's name, as another service answers there. None: OpenAI's.

    Raises:
        CraftZooError: it is no URL.
    """
    url = os.environ.get(_URL, "").strip().rstrip("/")
    if url in ("", _OPENAI):
        return None
    try:
        return checked_url(url)
    except CraftZooError as error:
        raise CraftZooError(f"{error} in {_URL}, or unset it") from None


def _fault_in(body: dict[str, Any]) -> dict[str, Any] | None:
    """What says {"error": {…}} in a response with status 200: itself, or a choice (OpenRouter)."""
    choices = body.get("choices")
    for each in choices if isinstance(choices, list) and choices else [body]:
        if isinstance(each, dict) and isinstance(each.get("error"), dict):
            return each
    return None


def changes(request: dict[str, Any], said: str) -> dict[str, Any]:
    """How to change a chat request, so that it lacks what an error message rejects.

    Models that think take no temperature and return no log-probabilities; some services return
    fewer of them, or know the limit of an answer by its newer name only.

    Returns:
        New values of arguments, None for those to leave out; {}: nothing that can be left out.
    """
    if "logprobs" in said and "logprobs" in request:
        numbers = map(int, re.findall(r"\b[1-9]\d?\b", "" if "support" in said else said))
        fewer = [number for number in numbers if number < request["top_logprobs"]]
        return {"top_logprobs": max(fewer)} if fewer else {"logprobs": None, "top_logprobs": None}
    if "temperature" in said and "temperature" in request:
        return {"temperature": None}
    if "max_completion_tokens" in said and "max_tokens" in request:
        return {"max_tokens": None, "max_completion_tokens": request["max_tokens"]}
    return {}


class OpenAIService(QuestionService):
    """A service that answers questions and speaks OpenAI's protocol.

    Args:
        model: name of the model at the service.
        url: base URL, see :class:`OpenAIClient`; None: OpenAI's, or OPENAI_BASE_URL.
        key: API key; None: the environment variable OPENAI_API_KEY.
        options: options of the model; None: the defaults of :attr:`options_type`.

    Attributes:
        scheme: prefix of the model's name.

    Raises:
        CraftZooError: see :class:`OpenAIClient`.
    """

    scheme: ClassVar[str]
    options_type: ClassVar[type[OpenAIOptions]] = OpenAIOptions

    def __init__(
        self,
        model: str,
        url: str | None = None,
        *,
        key: str | None = None,
        options: OpenAIOptions | None = None,
    ) -> None:
        url = url or environment_url()
        self.options, self._model, self._url = options or self.options_type(), model, url
        self._client = OpenAIClient(url, key, self.options.timeout)
        self.name = f"{self.scheme}{model}" + (f"@{url}" if url else "")

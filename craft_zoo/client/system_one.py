"""Client of the System One protocol, ``systemone:MODEL@https://HOST``.

``transformers serve``, TypeSafe's Jev and others answer it.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.decisions import probability
from craft_zoo.client.http import Answer, Http, checked_key, message_of
from craft_zoo.client.paid import data_url, media_type
from craft_zoo.client.questions import (
    Limits,
    Question,
    QuestionService,
    QuestionVLM,
    Reply,
)
from craft_zoo.client.refusals import unsuitable
from craft_zoo.client.retrying import Damaged, Transient
from craft_zoo.client.services import ServiceOptions, address, open_service
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import sentence
from craft_zoo.protocol import IDEMPOTENCY_HEADER
from craft_zoo.protocol.tokens import TokenRule

if TYPE_CHECKING:
    import httpx

SCHEME = "systemone:"
KEY = "SYSTEMONE_API_KEY"
ROUTE = "/v1/systemone"
IMAGES_HEADER = "TypeSafe-Danger-Zone-Images"  # without it, TypeSafe refuses images
_QUESTIONS = 64
_OPTION_BYTES = 1000  # maximum size of an answer per option
_LATER = frozenset({408, 425, 429})  # statuses below 500 after which a retry may succeed
_TIMED_OUT = frozenset({408, 504, 524})  # the model may still have answered
_FAILURES = 3  # attempts after which HTTP 500, which may be transient, is a permanent failure
_INVALID = 3  # attempts after which an invalid answer is a permanent failure
# Last line of the prompt that transformers makes of a question for models without one of their own.
_CHOOSE = "Answer with the letter of the option that fits best (A to Z) only."
_DECIDE = "Answer Yes or No only."


@dataclass(frozen=True)
class SystemOneOptions(ServiceOptions):
    """Options of a System One service, beside those of every service.

    Attributes:
        timeout: seconds to wait for an answer; some servers answer the questions of a request, and
            the requests, one after another.
        images: how images are sent: as ``assets`` that the state names, or as a ``list``.
    """

    timeout: float = 300.0
    images: Literal["assets", "list"] = "assets"


class SystemOne(QuestionService):
    """The protocol ``POST /v1/systemone``: named questions about a state, with probabilities.

    Args:
        model: name of the model at the service.
        url: URL of the service, with or without /v1 at its end.
        key: API key; None: the environment variable SYSTEMONE_API_KEY, if set.
        timeout: seconds for a whole exchange, see :class:`Http`.
        images: see :class:`SystemOneOptions`.
        options: maximum number of options of a question.
        tokens: rule by which tokens are estimated.
        transport: replaces the network in tests.

    Raises:
        CraftZooError: the URL or the key is invalid, or the package httpx is missing.
    """

    def __init__(
        self,
        model: str,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 300.0,
        images: Literal["assets", "list"] = "assets",
        options: int = 255,
        tokens: TokenRule | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._key = checked_key(os.environ.get(KEY, "") if key is None else key, KEY)
        headers = {"Content-Type": "application/json", IMAGES_HEADER: "true"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._http = Http(url.rstrip("/").removesuffix("/v1"), headers, timeout, transport)
        self._model, self._images, self._tokens = model, images, tokens or TokenRule()
        self.name = f"{SCHEME}{model}@{self._http.url}"
        self.limits = Limits(questions=_QUESTIONS, options=options)

    def request(self, image: bytes, questions: Sequence[Question]) -> dict[str, Any]:
        """See :meth:`QuestionService.request`."""
        asked = {f"q{number}": _encoded(question) for number, question in enumerate(questions)}
        request: dict[str, Any] = {"model": self._model, "questions": asked}
        if self._images == "list":
            return {**request, "state": "The image.", "images": [data_url(image)]}
        # Servers replace the placeholder wherever it occurs, so no question may contain it.
        text = json.dumps(asked, ensure_ascii=False)
        names = (f"<img-{number}>" for number in itertools.count(1))
        placeholder = next(name for name in names if name not in text)
        asset = {
            "type": "image",
            "format": media_type(image).removeprefix("image/"),
            "data_base64": base64.b64encode(image).decode(),
        }
        return {**request, "state": placeholder, "assets": {placeholder: asset}}

    def send(self, request: dict[str, Any], questions: Sequence[Question], key: str) -> Reply:
        """See :meth:`QuestionService.send`."""
        most = _OPTION_BYTES * sum(1 + len(question.options) for question in questions)
        body, headers = json.dumps(request).encode(), {IDEMPOTENCY_HEADER: key}
        try:
            answer = self._http.send("POST", ROUTE, body, headers, most=most)
            if answer.status != 200:
                raise self._refused(answer)
            return _reply(answer.json, questions)
        except Damaged:
            self._http.reconnect()
            raise

    def expected(self, request: dict[str, Any], image: bytes) -> Usage:
        """See :meth:`QuestionService.expected`.

        Each question counts as a prompt of its own, which contains the image, as in
        ``transformers serve``. This is an upper bound for services that read the image once.
        """
        rule = self._tokens
        asked = request["questions"].values()
        count = len(asked) * (rule.request + rule.of_image(image))
        count += sum(rule.of_text(_prompt(question)) for question in asked)
        return Usage(requests=1, images=1, input_tokens=count)

    def _refused(self, answer: Answer) -> Exception:
        who, status = f"the service {self._http.url}", answer.status
        said = message_of(answer.json) or f"HTTP {status}"
        if status in _LATER or status >= 500:
            return Transient(
                said,
                answer.retry_after,
                attempts=_FAILURES if status == 500 else None,
                billed=status in _TIMED_OUT,
            )
        if (mended := unsuitable(who, status, said)) is not None:
            return mended
        if status in (401, 403):
            mend = f"check {KEY}" if self._key else f"set {KEY}"
            return CraftZooError(f"{who} refused the key ({said}): {mend}")
        if status == 404:
            return CraftZooError(
                f"{who} does not know the model or {ROUTE} ({said}): check model (--model)"
            )
        mend = "check model (--model)"
        if "assets" in said or "images" in said:
            other = "list" if self._images == "assets" else "assets"
            mend = f"set its option images (--model-option images={other})"
        return CraftZooError(f"{who} rejected the questions ({said}): {mend}")


def _encoded(question: Question) -> dict[str, Any]:
    if not question.options:
        return {"type": "noul", "instructions": question.instructions}
    criteria = {value: description or None for value, description in question.options}
    return {"type": "choice", "instructions": question.instructions, "criteria": criteria}


def _prompt(question: dict[str, Any]) -> str:
    """What transformers asks a model that has no template for questions, without the image."""
    options = [
        f"A. {value}: {description}" if description else f"A. {value}"
        for value, description in question.get("criteria", {}).items()
    ]
    last = _CHOOSE if options else _DECIDE
    return "\n\n" + "\n".join([question["instructions"], *options, last])


def _reply(said: Any, questions: Sequence[Question]) -> Reply:
    """The reply in the JSON of a response. A question without an answer was refused.

    Raises:
        Damaged: it is no reply to the questions.
    """
    if not isinstance(said, dict):
        raise Damaged("its answer is no JSON object", attempts=_INVALID, billed=True)
    try:
        usage, answers = said["usage"], said["answers"]
        billed = Usage(
            requests=1,
            images=1,
            input_tokens=int(usage["input_tokens"]),
            output_tokens=int(usage.get("output_tokens") or 0),
        )
        decoded = [
            _decoded(question, answers.get(f"q{number}"))
            for number, question in enumerate(questions)
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"its answer is not one to the questions ({sentence(str(error), 200)})"
        raise Damaged(reason, attempts=_INVALID, billed=True) from None
    return Reply(decoded, billed)


def _decoded(question: Question, answer: dict[str, Any] | None) -> list[float] | None:
    """Probabilities in the order of the options; None: refused.

    Raises:
        KeyError, TypeError, ValueError: it is no answer to the question.
    """
    if answer is None:
        return None
    if not question.options:
        return [probability(answer["noul"])]
    by_value = answer["probabilities"]
    if len(by_value) != len(question.options):
        raise ValueError(f"{len(by_value)} probabilities for {len(question.options)} options")
    return [probability(by_value[value]) for value, _ in question.options]


@register_model(SCHEME)
def open_system_one(spec: ModelSpec) -> QuestionVLM:
    """A model behind the System One protocol (transformers serve), systemone:MODEL@https://HOST."""
    model, url = address(spec, SCHEME, needs_url=True)
    assert url is not None, "needed"

    def make(options: SystemOneOptions) -> SystemOne:
        if options.detail is not None:
            raise CraftZooError(f"{spec.model} has no option detail: leave it out")
        return SystemOne(
            model,
            url,
            timeout=options.timeout,
            images=options.images,
            tokens=options.tokens(model),
        )

    return open_service(spec, make, SystemOneOptions)

"""Client of the System One protocol, ``systemone:MODEL@https://HOST``.

``transformers serve``, TypeSafe's Jev and others answer it.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.failures import reading, status_failure, useless
from craft_zoo.client.files import data_url, media_type
from craft_zoo.client.http import Answer, Http, checked_key, message_of
from craft_zoo.client.paid import Reply
from craft_zoo.client.question_service import (
    ImageQuestion,
    Limits,
    QuestionService,
    probabilities,
    probability,
    request_usage,
)
from craft_zoo.client.question_vlm import QuestionVLM
from craft_zoo.client.services import ServiceOptions, address, open_service
from craft_zoo.protocol import IDEMPOTENCY_HEADER

SCHEME = "systemone:"
KEY = "SYSTEMONE_API_KEY"
ROUTE = "/v1/systemone"
IMAGES_HEADER = "TypeSafe-Danger-Zone-Images"  # without it, TypeSafe refuses images
_OPTION_BYTES = 1000  # maximum size of an answer per option
# Last line of the prompt of transformers for a model without a template for questions.
_CHOOSE = "Answer with the letter of the option that fits best (A to Z) only."
_DECIDE = "Answer Yes or No only."


@dataclass(frozen=True)
class SystemOneOptions(ServiceOptions):
    """Options of a System One service, in addition to those of every service.

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
        options: options of the model; its time-out is that of :class:`Http`.

    Raises:
        CraftZooError: the URL or the key is invalid, or the package httpx is missing.
    """

    limits = Limits(questions=64, options=255)

    def __init__(
        self,
        model: str,
        url: str,
        *,
        key: str | None = None,
        options: SystemOneOptions | None = None,
    ) -> None:
        self._options, key = options or SystemOneOptions(), checked_key(key, KEY)
        headers = {"Content-Type": "application/json", IMAGES_HEADER: "true"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._http = Http(url.rstrip("/").removesuffix("/v1"), headers, self._options.timeout)
        self._model, self._has_key = model, bool(key)
        self.name = f"{SCHEME}{model}@{self._http.url}"

    def request(self, image: bytes, questions: Sequence[ImageQuestion]) -> dict[str, Any]:
        """See :meth:`QuestionService.request`."""
        asked = {f"q{number}": _encoded(question) for number, question in enumerate(questions)}
        request: dict[str, Any] = {"model": self._model, "questions": asked}
        if self._options.images == "list":
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

    def send(self, request: dict[str, Any], questions: Sequence[ImageQuestion], key: str) -> Reply:
        """See :meth:`QuestionService.send`."""
        most = _OPTION_BYTES * sum(1 + len(question.options) for question in questions)
        body, headers = json.dumps(request).encode(), {IDEMPOTENCY_HEADER: key}
        with self._http.reconnecting():
            answer = self._http.send("POST", ROUTE, body, headers, most=most)
            if answer.status != 200:
                raise self._refused(answer)
            return _reply(answer.json, questions)

    def expected(self, request: dict[str, Any], image: bytes) -> Usage:
        """See :meth:`QuestionService.expected`.

        Each question counts as a prompt of its own, which contains the image, as in
        ``transformers serve``. This is an upper bound for services that read the image once.
        """
        rule = self._options.tokens(self._model)
        asked = request["questions"].values()
        count = len(asked) * (rule.request + rule.of_image(image))
        count += sum(rule.of_text(_prompt(question)) for question in asked)
        return Usage(requests=1, images=1, input_tokens=count)

    def _refused(self, answer: Answer) -> Exception:
        said, mend = message_of(answer.json), "check model (--model)"
        if answer.status != 404 and ("assets" in said or "images" in said):
            other = "list" if self._options.images == "assets" else "assets"
            mend = f"set its option images (--model-option images={other})"
        return status_failure(
            f"the service {self._http.url}",
            answer.status,
            said,
            variable=KEY,
            has_key=self._has_key,
            after=answer.retry_after,
            mend=mend,
        )


def _encoded(question: ImageQuestion) -> dict[str, Any]:
    if not question.options:
        return {"type": "noul", "instructions": question.instructions}
    criteria = {value: description or None for value, description in question.options}
    return {"type": "choice", "instructions": question.instructions, "criteria": criteria}


def _prompt(question: dict[str, Any]) -> str:
    """The prompt of transformers, without the image, for a model that has no template."""
    options = [
        f"A. {value}: {description}" if description else f"A. {value}"
        for value, description in question.get("criteria", {}).items()
    ]
    last = _CHOOSE if options else _DECIDE
    return "\n\n" + "\n".join([question["instructions"], *options, last])


def _reply(said: Any, questions: Sequence[ImageQuestion]) -> Reply:
    """The reply in the JSON of a response. A question without an answer was refused.

    Raises:
        Damaged: it is no reply to the questions.
    """
    if not isinstance(said, dict):
        raise useless("its answer is no JSON object")
    with reading("its answer is not one to the questions"):
        usage, answers = said["usage"], said["answers"]
        billed = request_usage(usage["input_tokens"], usage.get("output_tokens") or 0)
        decoded = [
            _decoded(question, answers.get(f"q{number}"))
            for number, question in enumerate(questions)
        ]
        return Reply(decoded, billed)


def _decoded(question: ImageQuestion, answer: dict[str, Any] | None) -> list[float] | None:
    """Probabilities in the order of the options; None: refused.

    Raises:
        KeyError, TypeError, ValueError: it is no answer to the question.
    """
    if answer is None:
        return None
    if not question.options:
        return [probability(answer["noul"])]
    return probabilities(question, answer["probabilities"])


@register_model(SCHEME)
def open_system_one(spec: ModelSpec) -> QuestionVLM:
    """A model behind the System One protocol (transformers serve), systemone:MODEL@https://HOST."""
    model, url = address(spec, SCHEME, needs_url=True)
    assert url is not None, "needed"
    return open_service(
        spec, lambda options: SystemOne(model, url, options=options), SystemOneOptions
    )

"""Exceptions for responses of services that are of no use: error statuses and malformed answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from craft_zoo.client.retrying import Damaged, Transient
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import sentence

MISREAD = (AttributeError, LookupError, TypeError, ValueError, OverflowError, RecursionError)
"""Exceptions raised while reading JSON of an unexpected form."""

_ATTEMPTS = 3  # of a request whose failure may be permanent
_LATER = frozenset({408, 425, 429})  # statuses below 500 after which a retry may succeed
TIMED_OUT = frozenset({408, 504, 524})  # the model may still have answered
# For example "at most 26 options" (transformers), "a maximum of 100 choices".
_OPTIONS = re.compile(r"(?:at most|maximum of|up to) (\d+) (?:options|choices)", re.IGNORECASE)
_NO_IMAGES = re.compile(
    r"images need a model"  # transformers
    r"|image_url is only supported"  # OpenAI
    r"|not a multi-?modal|text-only"  # vLLM
    r"|not support (?:the )?`?(?:image[ _](?:input|embed)|images|vision)"  # Ollama, infinity
    r"|no endpoints found that support image"  # OpenRouter
    r"|does not (?:accept|read|take) images",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(
    r"image\S* (?:\S+ ){0,6}(?:too large|exceed)|too large an image", re.IGNORECASE
)
# Azure, litellm (ContentPolicyViolationError), OpenAI, Alibaba, OpenRouter.
_FILTERED = re.compile(
    r"content[ _]?(?:filter|policy|management policy)|safety system|moderation_blocked"
    r"|data_inspection_failed|inappropriate content|input was flagged",
    re.IGNORECASE,
)
# For example "batch size 33 > maximum allowed batch size 32" (text-embeddings-inference).
_BATCH = re.compile(r"\bbatch", re.IGNORECASE)


class RejectedError(CraftZooError):
    """A service rejected a request by a status from 400 to 499, and bills nothing for it."""

    billed = False


class FilteredError(CraftZooError):
    """A content filter of the service rejected this request, and no other one.

    Attributes:
        said: what the service said.
    """

    def __init__(self, who: str, said: str) -> None:
        super().__init__(f"a content filter of {who} rejected the request ({said}): change it")
        self.said = said


def status_failure(
    who: str,
    status: int,
    said: str,
    *,
    variable: str,
    has_key: bool,
    after: float,
    mend: str,
    inputs: int = 1,
) -> Exception:
    """The exception for an error response: transient if a retry may succeed.

    Args:
        who: the service.
        status: HTTP status of its response.
        said: its message; "": there is none.
        variable: environment variable of the key.
        has_key: whether the request had a key.
        after: seconds for which the service asks to wait.
        mend: advice where the status says no more than that the request is wrong.
        inputs: number of images or texts in the request.
    """
    said = said or f"HTTP {status}"
    if status in _LATER or status >= 500:
        attempts = _ATTEMPTS if status in (500, 501) else None
        return Transient(said, after, attempts=attempts, billed=status in TIMED_OUT)
    if status in (400, 403) and _FILTERED.search(said):
        return FilteredError(who, said)
    if limit := _OPTIONS.search(said):
        return RejectedError(
            f"{who} takes at most {limit[1]} options in a question: set its option options "
            f"(--model-option options={limit[1]}), which divides more classes into blocks"
        )
    if _NO_IMAGES.search(said):
        return RejectedError(
            f"the model of {who} reads no images ({said}): choose a vision-language model"
        )
    is_large = _TOO_LARGE.search(said)
    is_many = status == 413 if not _BATCH.search(said) else status in (400, 413, 422)
    if inputs > 1 and is_many and not is_large:
        return RejectedError(
            f"{inputs} inputs together are too many for {who} ({said}): lower its option batch "
            f"(--model-option batch=…)"
        )
    if status == 413 or is_large:
        return RejectedError(f"an image is too large for {who} ({said}): make it smaller")
    fault = f"rejected the request ({said})"
    if status in (401, 403):
        fault, mend = f"refused the key ({said})", f"{'check' if has_key else 'set'} {variable}"
    elif status == 402:
        fault, mend = f"has no quota left for this key ({said})", "raise it"
    elif status == 404:
        fault = f"does not know the model or the route ({said})"
    return RejectedError(f"{who} {fault}: {mend}")


def useless(reason: str) -> Damaged:
    """The exception for an answer that is of no use, although it was probably billed."""
    return Damaged(reason, attempts=_ATTEMPTS, billed=True)


@contextmanager
def reading(fault: str) -> Iterator[None]:
    """Raise :func:`useless` if the context fails to read an answer.

    Args:
        fault: what is then wrong with the answer, as "its answer is no chat completion".
    """
    try:
        yield
    except MISREAD as error:
        raise useless(f"{fault} ({sentence(str(error), 200)})") from None

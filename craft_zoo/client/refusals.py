"""Explains why services reject a question, from the words that they use."""

from __future__ import annotations

import re

from craft_zoo.errors import CraftZooError

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


def unsuitable(who: str, status: int, said: str) -> CraftZooError | None:
    """The error if the model cannot answer such a question; None if the reason is another.

    Args:
        who: the service.
        status: HTTP status of its response, 400 to 499.
        said: its message.
    """
    if limit := _OPTIONS.search(said):
        return CraftZooError(
            f"{who} takes at most {limit[1]} options in a question: set its option options "
            f"(--model-option options={limit[1]}), which divides more classes into blocks"
        )
    if _NO_IMAGES.search(said):
        return CraftZooError(
            f"the model of {who} reads no images ({said}): choose a vision-language model"
        )
    if status == 413 or _TOO_LARGE.search(said):
        return CraftZooError(f"an image is too large for {who} ({said}): make it smaller")
    return None

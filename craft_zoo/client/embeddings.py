"""Client of OpenAI's embeddings, of images too: ``embeddings:MODEL@https://HOST/v1``."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.client.files import data_url
from craft_zoo.client.vector_service import Input, VectorOptions, VectorService, indexed
from craft_zoo.client.vector_vlm import VectorVLM, open_vectors


@dataclass(frozen=True)
class EmbeddingsOptions(VectorOptions):
    """Options of a service with OpenAI's protocol.

    Attributes:
        images: how images are sent: ``data-url``: as inputs, as ``craft-zoo serve`` and infinity
            take them; ``messages``: as chat messages, one for each request, as vLLM takes them;
            ``objects``: as inputs that say what they are, as Jina takes them and texts.
    """

    images: Literal["data-url", "messages", "objects"] = "data-url"


class Embeddings(VectorService):
    """OpenAI's ``POST /v1/embeddings``, for a model that takes images too."""

    scheme = "embeddings:"
    options_type = EmbeddingsOptions
    options: EmbeddingsOptions

    def batch(self, given: Input) -> int:
        """See :meth:`VectorService.batch`."""
        alone = isinstance(given, bytes) and self.options.images == "messages"
        return 1 if alone else self.options.batch

    def _create(self) -> Callable[..., Any]:
        create: Callable[..., Any] = self._client.client.embeddings.with_raw_response.create
        return create

    def _request(self, inputs: Sequence[Input]) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self._model, "encoding_format": "base64"}
        if self.options.images == "objects":
            return request | {"encoding_format": "float", "input": list(map(_as_object, inputs))}
        urls = [data_url(each) for each in inputs if isinstance(each, bytes)]
        if not urls:
            return request | {"input": list(inputs)}
        if self.options.images == "data-url":
            return request | {"input": urls, "extra_body": {"modality": "image"}}
        from openai import omit  # the official client has no argument for messages

        [url] = urls
        content = [{"type": "image_url", "image_url": {"url": url}}]
        messages = [{"role": "user", "content": content}]
        return request | {"input": omit, "extra_body": {"messages": messages}}

    def _parsed(self, body: dict[str, Any], count: int) -> tuple[list[np.ndarray], float | None]:
        usage = body.get("usage") or {}
        return indexed(body, count), usage.get("prompt_tokens", usage.get("total_tokens"))


def _as_object(given: Input) -> dict[str, str]:
    if isinstance(given, bytes):
        return {"image": base64.b64encode(given).decode()}
    return {"text": given}


@register_model(Embeddings.scheme)
def open_embeddings(spec: ModelSpec) -> VectorVLM:
    """A service that returns vectors of images and texts, embeddings:MODEL@https://HOST/v1."""
    return open_vectors(spec, Embeddings)

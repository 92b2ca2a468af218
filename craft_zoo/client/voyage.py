"""Client of Voyage's multimodal embeddings: ``voyage:MODEL`` or ``voyage:MODEL@https://HOST/v1``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.client.embeddings import (
    EmbeddingsVLM,
    Input,
    VectorOptions,
    VectorService,
    indexed,
    open_vectors,
)
from craft_zoo.client.openai_sdk import OpenAIClient
from craft_zoo.client.paid import data_url
from craft_zoo.client.services import address

SCHEME = "voyage:"
URL = "https://api.voyageai.com/v1"
KEY = "VOYAGE_API_KEY"


class Voyage(VectorService):
    """Voyage's ``POST /v1/multimodalembeddings``.

    Args:
        model: name of the model at the service.
        url: base URL; None: Voyage's.
        key: API key; None: the environment variable VOYAGE_API_KEY.
        options: options of the model.

    Raises:
        CraftZooError: see :class:`OpenAIClient`.
    """

    request_tokens = 0

    def __init__(
        self,
        model: str,
        url: str | None = None,
        *,
        key: str | None = None,
        options: VectorOptions | None = None,
    ) -> None:
        options, owner = options or VectorOptions(), None if url else "Voyage"
        client = OpenAIClient(url or URL, key, options.timeout, variable=KEY, owner=owner)
        super().__init__(f"{SCHEME}{model}" + (f"@{url}" if url else ""), model, client, options)

    def _create(self) -> Callable[..., Any]:
        return self._client.poster("/multimodalembeddings")

    def _request(self, inputs: Sequence[Input]) -> dict[str, Any]:
        parts = [
            {"type": "text", "text": each}
            if isinstance(each, str)
            else {"type": "image_base64", "image_base64": data_url(each)}
            for each in inputs
        ]
        return {
            "model": self._model,
            "inputs": [{"content": [part]} for part in parts],
            "encoding_format": "base64",
        }

    def _parsed(self, body: dict[str, Any], count: int) -> tuple[list[np.ndarray], float]:
        return indexed(body, count), body["usage"]["total_tokens"]


@register_model(SCHEME)
def open_voyage(spec: ModelSpec) -> EmbeddingsVLM:
    """Voyage's vectors of images and texts, voyage:MODEL or voyage:MODEL@https://HOST/v1."""
    model, url = address(spec, SCHEME)
    return open_vectors(spec, lambda options: Voyage(model, url, options=options), VectorOptions)

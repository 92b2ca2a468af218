"""Client of Cohere's embeddings: ``cohere:MODEL`` or ``cohere:MODEL@https://HOST/v2``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.client.files import data_url
from craft_zoo.client.vector_service import Input, VectorService, decoded
from craft_zoo.client.vector_vlm import VectorVLM, open_vectors

_TEXTS = 96  # maximum number in a request


class Cohere(VectorService):
    """Cohere's ``POST /v2/embed``, which vLLM answers too."""

    scheme = "cohere:"
    vendor, vendor_url, key_variable = "Cohere", "https://api.cohere.com/v2", "CO_API_KEY"
    request_tokens = 0

    def __init__(self, model: str, url: str | None = None, **given: Any) -> None:
        super().__init__(model, url, **given)
        self._is_third = "-v3" in model  # takes one image a request, of up to 5 MB
        if self._is_third:
            self.image_bytes = 5 * 10**6

    def batch(self, given: Input) -> int:
        """See :meth:`VectorService.batch`."""
        return 1 if self._is_third and isinstance(given, bytes) else min(self.options.batch, _TEXTS)

    def _create(self) -> Callable[..., Any]:
        return self._client.poster("/embed")

    def _request(self, inputs: Sequence[Input]) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self._model, "embedding_types": ["float"]}
        urls = [data_url(each) for each in inputs if isinstance(each, bytes)]
        if urls:
            return request | {"input_type": "image", "images": urls}
        # Cohere compares a search query with what is searched, here the images.
        return request | {"input_type": "search_query", "texts": list(inputs)}

    def _parsed(self, body: dict[str, Any], count: int) -> tuple[list[np.ndarray], float]:
        rows = [decoded(row) for row in body["embeddings"]["float"]]
        billed = body["meta"]["billed_units"]
        # Older models bill an image and no tokens.
        parts = (billed.get("image_tokens") or 0) + (billed.get("text_tokens") or 0)
        return rows, max(billed.get("input_tokens") or 0, parts)


@register_model(Cohere.scheme)
def open_cohere(spec: ModelSpec) -> VectorVLM:
    """Cohere's vectors of images and texts, cohere:MODEL or cohere:MODEL@https://HOST/v2."""
    return open_vectors(spec, Cohere)

"""Client of Voyage's multimodal embeddings: ``voyage:MODEL`` or ``voyage:MODEL@https://HOST/v1``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.client.files import data_url
from craft_zoo.client.vector_service import Input, VectorService, indexed
from craft_zoo.client.vector_vlm import VectorVLM, open_vectors


class Voyage(VectorService):
    """Voyage's ``POST /v1/multimodalembeddings``."""

    scheme = "voyage:"
    vendor, vendor_url, key_variable = "Voyage", "https://api.voyageai.com/v1", "VOYAGE_API_KEY"
    request_tokens = 0

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


@register_model(Voyage.scheme)
def open_voyage(spec: ModelSpec) -> VectorVLM:
    """Voyage's vectors of images and texts, voyage:MODEL or voyage:MODEL@https://HOST/v1."""
    return open_vectors(spec, Voyage)

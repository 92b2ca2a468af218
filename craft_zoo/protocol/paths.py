"""URL paths of the server."""

from __future__ import annotations

API = "/v1"
"""Prefix of the paths of this protocol version."""

MODEL = f"{API}/model"
USAGE = f"{API}/usage"
IMAGE_SETS = f"{API}/image-sets"
IMAGE_SET = f"{API}/image-sets/{{id}}"
IMAGES = f"{API}/image-sets/{{id}}/images"
CLASSIFIERS = f"{API}/classifiers"
INITIAL_CONTEXT = f"{API}/classifiers/{{id}}/initial-context"
SCORES = f"{API}/classifiers/{{id}}/scores"

ADAPTER = f"{API}/adapter"
CLASSIFY = f"{API}/classify"

DECISIONS = f"{API}/decisions"
"""OpenAI's decisions: typed questions about an image."""

SYSTEM_ONE = f"{API}/systemone"
"""The System One protocol: named, typed questions about an image."""

EMBEDDINGS = f"{API}/embeddings"
"""Embeddings of texts and images, as OpenAI's."""

ZERO_SHOT = "/hf/zero-shot-image-classification"
"""Hugging Face's task API."""

HEALTH, READY, METRICS = "/healthz", "/readyz", "/metrics"

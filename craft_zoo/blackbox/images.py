"""The image side of a model: features of images, each encoded once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from craft_zoo.blackbox.base import Progress
from craft_zoo.blackbox.cache import FeatureCache, module_key
from craft_zoo.blackbox.text import Model
from craft_zoo.blackbox.workers import Workers
from craft_zoo.data.images import ImageSource, content_key, open_image

# A large batch spends a CPU's time on fresh memory for activations.
_BATCH = {"cpu": 8, "cuda": 128}
_KEPT_TOGETHER = 256  # images whose features are written to the cache at once


class ImageEncoder:
    """Normalised float32 features of images.

    Images are opened and prepared in parallel; on a CPU each thread also encodes what it has
    prepared. All batches have one size, the last one padded: an image's features are then the same
    to the last bit in whatever company and by however many threads they are computed.

    Args:
        model: an open_clip model.
        preprocess: PIL image → tensor (3, H, W).
        cache: folder where features are kept between runs; None: nowhere.
    """

    def __init__(
        self, model: Model, preprocess: Callable[..., Tensor], *, cache: Path | None = None
    ) -> None:
        self._model, self._preprocess, self._folder = model, preprocess, cache
        # In half precision some parameters stay single, not those that pixels are multiplied by.
        weight = next(
            module.weight
            for module in model.visual.modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        )
        self._device, self._dtype = weight.device, weight.dtype
        self._batch = _BATCH.get(self._device.type, 32)
        self._workers = Workers()

    def __call__(self, images: Sequence[ImageSource], progress: Progress | None = None) -> Tensor:
        """(N, embed_dim) on the model's device.

        Raises:
            CraftZooError: an image is missing or corrupt; what was encoded before it is kept.
        """
        cache = self._cache
        if cache is None:
            keys = [str(place).encode() for place in range(len(images))]
            known: dict[bytes, np.ndarray] = {}
        else:
            keys = list(self._workers.map(content_key, images))
            known = cache.get(keys)
        unknown = {key: image for key, image in zip(keys, images, strict=True) if key not in known}
        names, n_known = list(unknown), len(known)
        rows: list[np.ndarray] = []
        n_kept = 0
        try:
            for features in self._encode(list(unknown.values())):
                rows += list(features)
                if cache and len(rows) >= n_kept + _KEPT_TOGETHER:
                    cache.put(names[n_kept : len(rows)], np.stack(rows[n_kept:]))
                    n_kept = len(rows)
                if progress:
                    progress(n_known + len(rows), n_known + len(names))
        finally:
            if cache and rows[n_kept:]:
                cache.put(names[n_kept : len(rows)], np.stack(rows[n_kept:]))
        known.update(zip(names, rows, strict=True))
        return torch.from_numpy(np.stack([known[key] for key in keys])).to(self._device)

    @cached_property
    def _cache(self) -> FeatureCache | None:
        if self._folder is None:
            return None
        # Objects without a text form of their own are written with their address in memory.
        preprocess = re.sub(r" at 0x[0-9a-f]+", "", repr(self._preprocess))
        return FeatureCache(
            module_key(self._model.visual, preprocess, self._device.type), self._folder
        )

    def _encode(self, images: Sequence[ImageSource]) -> Iterator[np.ndarray]:
        """Features of one batch after another, (at most batch, embed_dim)."""
        starts = range(0, len(images), self._batch)
        batches = (images[start : start + self._batch] for start in starts)
        if self._device.type == "cpu":
            yield from self._workers.map(lambda batch: self._run(self._prepare(batch)), batches)
        else:
            yield from map(self._run, self._workers.map(self._prepare, batches))

    def _prepare(self, batch: Sequence[ImageSource]) -> Tensor:
        return torch.stack([self._preprocess(open_image(source)) for source in batch])

    @torch.inference_mode()
    def _run(self, pixels: Tensor) -> np.ndarray:
        padding = pixels[-1:].expand(self._batch - len(pixels), -1, -1, -1)
        batch = torch.cat([pixels, padding]).to(
            self._device, self._dtype, memory_format=torch.channels_last
        )
        features = self._model.encode_image(batch)[: len(pixels)].float()
        return F.normalize(features, dim=-1).cpu().numpy()

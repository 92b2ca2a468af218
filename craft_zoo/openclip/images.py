"""Image encoder with a feature cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import PIL
import torch
from open_clip.transform import CenterCropOrPad
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize

from craft_zoo.blackbox.base import Progress
from craft_zoo.data.float_image import FloatImage
from craft_zoo.data.images import ImageSource, content_key, open_image
from craft_zoo.openclip.cache import FeatureCache, module_key
from craft_zoo.openclip.resizing import memory_saving
from craft_zoo.openclip.text import Model
from craft_zoo.threads import in_threads

# Larger batches are slower on a CPU, which then spends its time allocating memory for activations.
_BATCH = {"cpu": 4, "cuda": 64}
_KEPT_TOGETHER = 256  # images whose features are written to the cache in one transaction


class ImageEncoder:
    """Computes normalised float32 features of images.

    Images are decoded and preprocessed in parallel; on a CPU, each thread also encodes its images.
    All batches are padded to one size, so that an image's features are bitwise the same whatever
    images it is batched with and however many threads are used.

    Args:
        model: an open_clip model.
        preprocess: PIL image → tensor (3, H, W).
        cache: folder of the feature cache; None: no cache. The cache is also disabled if the
            ``repr`` of ``preprocess`` does not describe it completely.
    """

    def __init__(
        self, model: Model, preprocess: Callable[..., Tensor], *, cache: Path | None = None
    ) -> None:
        self._model, self._preprocess, self._folder = model, preprocess, cache
        self._to_tensor = memory_saving(preprocess)
        self._normalize, self._input_size = _last_step(preprocess)
        # In half precision, some parameters stay in float32, but not those of the first layer.
        weight = next(
            module.weight
            for module in model.visual.modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        )
        self._device, self._dtype = weight.device, weight.dtype
        self._batch = _BATCH.get(self._device.type, 32)

    def __call__(self, images: Sequence[ImageSource], progress: Progress | None = None) -> Tensor:
        """Encode images to features (N, embed_dim) on the model's device.

        Args:
            images: N images.
            progress: called after each batch.

        Raises:
            CraftZooError: an image is missing or corrupt; features computed until then are cached.
        """
        cache = self._cache
        if cache is None:
            keys = [str(place).encode() for place in range(len(images))]
            known: dict[bytes, np.ndarray] = {}
        else:
            keys = list(in_threads(content_key, images))
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
        preprocess = repr(self._preprocess)
        if " at 0x" in preprocess:  # an address, so the text does not identify the preprocessing
            return None
        versions = torch.__version__, PIL.__version__
        return FeatureCache(
            module_key(self._model.visual, preprocess, versions, self._device.type), self._folder
        )

    def with_lengths(
        self, images: Sequence[ImageSource], progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`__call__` without the cache, with the features' lengths before normalisation.

        Returns:
            Features (N, embed_dim) and lengths (N,), on the model's device.
        """
        parts: list[np.ndarray] = []
        for part in self._encode(images, lengths=True):
            parts.append(part)
            if progress:
                progress(sum(map(len, parts)), len(images))
        found = torch.from_numpy(np.concatenate(parts)).to(self._device)
        return found[:, 1:].contiguous(), found[:, 0].contiguous()

    @torch.inference_mode()
    def encode_together(self, images: Sequence[ImageSource]) -> None:
        """Encode images in one batch without padding, for what hooks on the model see of it."""
        self._model.encode_image(self._on_device([self._prepare(image) for image in images]))

    def _encode(
        self, images: Sequence[ImageSource], *, lengths: bool = False
    ) -> Iterator[np.ndarray]:
        """Features of each batch, (at most batch, embed_dim); see :meth:`_run`."""
        if self._device.type == "cpu":
            starts = range(0, len(images), self._batch)
            batches = (images[start : start + self._batch] for start in starts)
            yield from in_threads(
                lambda batch: self._run([self._prepare(image) for image in batch], lengths),
                batches,
            )
        else:
            pixels = in_threads(self._prepare, images, ahead=2 * self._batch)
            while batch := list(islice(pixels, self._batch)):
                yield self._run(batch, lengths)

    def _prepare(self, source: ImageSource) -> Tensor:
        if isinstance(source, FloatImage) and source.colours.shape[:2] == self._input_size:
            assert self._normalize is not None
            return self._normalize(torch.from_numpy(source.colours).permute(2, 0, 1))
        return self._to_tensor(open_image(source))

    def _on_device(self, pixels: list[Tensor]) -> Tensor:
        return torch.stack(pixels).to(self._device, self._dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def _run(self, pixels: list[Tensor], lengths: bool = False) -> np.ndarray:
        """Normalised features; with ``lengths``, behind a column of those before normalisation."""
        padding = [pixels[-1]] * (self._batch - len(pixels))
        batch = self._on_device(pixels + padding)
        features = self._model.encode_image(batch)[: len(pixels)].float()
        normalised = F.normalize(features, dim=-1)
        if lengths:
            normalised = torch.cat([features.norm(dim=-1, keepdim=True), normalised], dim=1)
        return normalised.cpu().numpy()


def _last_step(preprocess: Callable[..., Tensor]) -> tuple[Normalize | None, tuple[int, ...]]:
    """The normalisation of colours and the input's (height, width), if the step has them."""
    steps = preprocess.transforms if isinstance(preprocess, Compose) else [None]
    if not isinstance(steps[-1], Normalize):
        return None, ()
    sizes = [step.size for step in steps if isinstance(step, CenterCrop | CenterCropOrPad | Resize)]
    size = sizes[-1] if sizes else ()
    return steps[-1], tuple(size) if not isinstance(size, int) else (size, size)

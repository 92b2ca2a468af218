"""In-memory cache of a model's answers, so that a program asks for each answer once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Progress, Prompts, own_images
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template
from craft_zoo.blackbox.wrappers import WrappedBlackBox, WrappedVLM
from craft_zoo.data.images import ImageSource


class RememberingVLM(WrappedVLM):
    """A model that is queried at most once for each prompt and image, across image sets.

    Images are identified by Python object identity. All answers stay in memory, C numbers for each
    prompt and image, so this class suits methods that use few prompts.

    Args:
        vlm: the model.
    """

    def __init__(self, vlm: VLM) -> None:
        super().__init__(vlm)
        self._boxes: dict[tuple[str, tuple[str, ...], str], _RememberingBox] = {}
        # The sets hold references to their images, so that ids are not reused.
        self._handed: dict[tuple[int, ...], ImageSet] = {}

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageSet:
        """See :meth:`VLM.images`. The model gets the images only when it must score them."""
        return _Images(list(images), self, progress, keep)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        return self._remembered(self._vlm.classifier, classnames, init)

    def independent(self, texts: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.independent`."""
        if not self.asks_texts_apart:
            return self.classifier(texts, init)
        return self._remembered(self._vlm.independent, texts, init)

    def _remembered(
        self, open_on: Callable[[Sequence[str], str], BlackBox], texts: Sequence[str], init: str
    ) -> BlackBox:
        key = open_on.__name__, tuple(texts), as_template(init)
        if key not in self._boxes:
            self._boxes[key] = _RememberingBox(open_on(texts, init), self)
        return self._boxes[key]

    def _hand_over(self, images: _Images, places: Sequence[int]) -> ImageSet:
        sources = [images.sources[place] for place in places]
        key = tuple(map(id, sources))
        if key not in self._handed:
            self._handed[key] = self._vlm.images(sources, images.progress, keep=images.keep)
        return self._handed[key]


class _Images(ImageSet):
    """Images that the model may not have received yet."""

    def __init__(
        self, sources: Sequence[ImageSource], owner: VLM, progress: Progress | None, keep: bool
    ) -> None:
        super().__init__(sources, owner)
        self.progress, self.keep = progress, keep


class _RememberingBox(WrappedBlackBox):
    """The model opened on class names, with the cached answers."""

    def __init__(self, box: BlackBox, owner: RememberingVLM) -> None:
        super().__init__(box)
        self._owner = owner
        self._rows: dict[object, dict[int, np.ndarray]] = {}  # by prompt, then by the image's id

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        mine = own_images(images, _Images, self._owner)
        ids = [id(source) for source in mine.sources]
        for place, prompt in enumerate(prompts):
            key = prompt.tobytes() if isinstance(prompt, np.ndarray) else prompt
            rows = self._rows.setdefault(key, {})
            missing = [at for at, name in enumerate(ids) if name not in rows]
            if missing:
                handed = self._owner._hand_over(mine, missing)
                answer = next(iter(self._box.logits(prompts[place : place + 1], handed)))
                rows.update((ids[at], row) for at, row in zip(missing, answer, strict=True))
            yield np.stack([rows[name] for name in ids])

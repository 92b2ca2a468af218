"""Requests about one image that their JSON body contains."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence

import numpy as np

from craft_zoo.blackbox import Prompt
from craft_zoo.server.caches import Opened
from craft_zoo.server.errors import bad
from craft_zoo.server.ingest import image_of_base64
from craft_zoo.server.service import Service
from craft_zoo.server.uploads import UploadedImage


def image_of(text: str, field: str, pixels: int) -> UploadedImage:
    """The image file in a data URL or a base64 text.

    Args:
        text: the data URL or base64 text.
        field: the field of the body that contains it.
        pixels: maximum number of pixels.

    Raises:
        Refusal: it is another URL, or no base64.
    """
    if text[:8].lower().startswith(("http://", "https://")):
        raise bad(
            f"{field} is the address of an image, and the server fetches nothing: send the file "
            f"itself as data:image/png;base64,…",
            400,
            field,
        )
    return image_of_base64(text, f"in {field}", pixels)


async def score_image(
    service: Service,
    account: str,
    image: UploadedImage,
    opened: Opened,
    prompt: Prompt,
    together: Hashable = None,
    *,
    keep: bool = False,
) -> np.ndarray:
    """(C,) float32 logits of one image, encoded together with those of other waiting requests.

    Args:
        service: the service.
        account: name of the account.
        image: the image, checked.
        opened: the model opened on C texts.
        prompt: the prompt.
        together: identifies the prompt among those of the same classifier.
        keep: whether the model may cache the image's features.

    Raises:
        Refusal: see :meth:`Service.compute`.
    """

    def run(images: Sequence[UploadedImage]) -> Generator[None, None, Sequence[np.ndarray]]:
        encoded = service.vlm.images(images, keep=keep)
        yield
        return list(opened.box.score(prompt, encoded))

    logits: np.ndarray = await service.score(account, run, image, (opened, together, keep), 1)
    if not np.isfinite(logits).all():
        raise RuntimeError("the model's answer is not finite")
    return logits

"""Registry of extractors: functions that compute features of images by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from craft_zoo.blackbox.base import ImageSet
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.optimizers.plugins import Registry

DEFAULT_FEATURES = "colours+hog"

Extractor = Callable[..., np.ndarray]
"""Maps N images, and for a scheme the rest of the name, to (N, F) features."""

REGISTRY: Registry[Extractor] = Registry(
    "extractor of local features", "craft_zoo.local_features", "craft_zoo.features", CraftZooError
)
# Features by image set and name: each step of a run measures the same images.
_EXTRACTED: WeakKeyDictionary[ImageSet, dict[str, np.ndarray]] = WeakKeyDictionary()


def register_features(name: str) -> Callable[[Extractor], Extractor]:
    """Decorator that registers an extractor of local features::

        @register_features("brightness")
        def brightness(images):
            return np.array([[np.asarray(open_image(image)).mean()] for image in images])

    Args:
        name: name of the features; or a scheme such as ``timm:``, whose extractor gets the rest of
            the name as its second argument.

    Raises:
        CraftZooError: another extractor has the name.
    """
    return REGISTRY.register(name)


def feature_names() -> dict[str, str]:
    """One-line description of every registered extractor."""
    return REGISTRY.summaries()


def check_features(spec: str) -> None:
    """Check the names in a specification of local features.

    Args:
        spec: names joined by ``+``, as in ``colours+hog``.

    Raises:
        CraftZooError: a name is unknown, or its package is not installed.
    """
    for name in spec.split("+"):
        _find(name)


def extract(spec: str, images: ImageSet) -> list[np.ndarray]:
    """Compute features of images, or get those that were computed before.

    Args:
        spec: names joined by ``+``.
        images: N images.

    Returns:
        For each name, (N, F) float32.

    Raises:
        CraftZooError: a name is unknown, an image cannot be opened, or an extractor raises an
            exception or does not return N finite rows.
    """
    known = _EXTRACTED.setdefault(images, {})
    for name in spec.split("+"):
        if name not in known:
            known[name] = _checked(name, _computed(name, images.sources), images.sources)
    return [known[name] for name in spec.split("+")]


def _find(name: str) -> tuple[Extractor, tuple[str, ...]]:
    scheme, colon, rest = name.partition(":")
    return REGISTRY.find(scheme + colon), (rest,) if colon else ()


def _computed(name: str, images: Sequence[ImageSource]) -> Any:
    extractor, more = _find(name)
    try:
        return extractor(images, *more)
    except CraftZooError:
        raise
    except Exception as error:  # extractors are functions of users
        raise CraftZooError(
            f"the local features {name} cannot be computed ({type(error).__name__}: {error}): "
            f"mend their extractor, or leave them out"
        ) from error


def _checked(name: str, features: Any, images: Sequence[ImageSource]) -> np.ndarray:
    try:
        found = np.asarray(features, dtype=np.float32)
    except (TypeError, ValueError):
        raise CraftZooError(
            f"the local features {name} are text, or rows of unequal lengths: return an array "
            f"({len(images)}, F) of finite numbers"
        ) from None
    fits = found.ndim == 2 and len(found) == len(images) and found.size > 0
    if not fits or not np.isfinite(found).all():
        raise CraftZooError(
            f"the local features {name} of {len(images):,} images must be an array "
            f"({len(images)}, F) of finite numbers, not of shape {found.shape}"
        )
    return found

"""The boundary: all that can be seen of a model that someone else owns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError

Prompt = np.ndarray | str | tuple[str, ...]
"""A context, (n_ctx, dim) or (C, n_ctx, dim); or a template as in "a photo of a {}.", or C of them,
each class its own."""

Prompts = np.ndarray | Sequence[str | tuple[str, ...]]
"""P contexts, (P, n_ctx, dim) or (P, C, n_ctx, dim), or P templates or tuples of C templates."""

Progress = Callable[[int, int], None]
"""Told how many images of how many are done."""


def several(prompt: Prompt, count: int = 1) -> Prompts:
    """One prompt, so many times, as a black box is asked."""
    return np.stack([prompt] * count) if isinstance(prompt, np.ndarray) else [prompt] * count


def check_given(things: Sequence[object], what: str) -> None:
    """Complain where there are none of what a model is to be given.

    Raises:
        CraftZooError: there are none.
    """
    if not things:
        raise CraftZooError(f"no {what} were given: give at least one")


class ImageSet(ABC):
    """A handle on images that were handed to a model once; what it makes of them is not visible.

    Attributes:
        sources: the N images as they were handed over.
    """

    sources: Sequence[ImageSource]

    @abstractmethod
    def __len__(self) -> int: ...


Images = TypeVar("Images", bound=ImageSet)


def own_images(images: ImageSet, kind: type[Images], owner: VLM) -> Images:
    """The images, as a model's own kind of handle, whose ``owner`` it is.

    Raises:
        CraftZooError: another model was handed them.
    """
    if not isinstance(images, kind) or getattr(images, "owner", None) is not owner:
        raise CraftZooError("the images were handed to another model: use this model's images()")
    return images


class BlackBox(ABC):
    """A model opened on one set of class names: contexts and images in, class logits out.

    Attributes:
        accepts: what it can be asked with, a subset of {"contexts", "texts"}.
        template: the prompt that it was opened with, as in "a photo of a {}.".
        initial_context: (n_ctx, dim) float32, the embeddings of the words before the class name;
            of a model that accepts texts only, (0, 0).
        classnames: the C class names, in the order of the logits' columns.
    """

    accepts: frozenset[str]
    template: str = as_template(DEFAULT_INIT)
    initial_context: np.ndarray
    classnames: tuple[str, ...]

    @property
    def initial_prompt(self) -> Prompt:
        """What a search starts from: the initial context, or the template in words."""
        return self.initial_context if "contexts" in self.accepts else self.template

    @property
    def held_bytes(self) -> int:
        """Bytes that it holds now, beside the model and the class names."""
        return self.initial_context.nbytes

    @abstractmethod
    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """Score every prompt on every image.

        Args:
            prompts: (P, n_ctx, dim) float32 contexts, or (P, C, n_ctx, dim): each class under its
                own; or P templates, where the class names stand in place of ``{}``, or P tuples of
                a template for each class.
            images: N images of the same model.

        Returns:
            P arrays (N, C) float32, in the order of the prompts, one at a time so that memory
            stays bounded. Where the owner returns probabilities, their logarithm.
        """

    def score(self, prompt: Prompt, images: ImageSet) -> np.ndarray:
        """(N, C) logits under one prompt."""
        return next(iter(self.logits(several(prompt), images)))


class WrappedBlackBox(BlackBox):
    """Something before a black box, which shows of itself what that shows.

    Args:
        box: the black box.
    """

    def __init__(self, box: BlackBox) -> None:
        self._box = box
        self.accepts, self.classnames = box.accepts, box.classnames
        self.template, self.initial_context = box.template, box.initial_context


class VLM(ABC):
    """What a model's owner offers.

    Attributes:
        name: what :func:`craft_zoo.blackbox.load_vlm` opens it by.
        image_size: pixels a side of the square that it looks at.
        in_flight: contexts that it likes to be asked about at once. Where a :class:`Journal` keeps
            the answers, a kill can lose so many, on ``images_in_flight`` images.
        images_in_flight: images likewise; None: all of a set, whose answers come together.
        bills: whether it is a service that has a bill; see :meth:`next_question`.
    """

    name: str
    image_size: int = 224
    in_flight: int = 1
    images_in_flight: int | None = None
    bills: bool = False

    @abstractmethod
    def images(
        self,
        images: Sequence[ImageSource],
        progress: Progress | None = None,
        *,
        keep: bool = True,
    ) -> ImageSet:
        """Hand images over, once. Features, if the model has any, stay inside.

        Args:
            images: N images.
            progress: called as the images are taken in.
            keep: whether they will come again another day, so that remembering them pays.
        """

    @abstractmethod
    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """Open the model on class names; several label sets may be opened on the same images.

        Args:
            classnames: C names in words.
            init: the prompt to start from, as words before the class name ("a photo of a") or as a
                template ("a photo of a {}, a type of pet."); a context replaces the words before.
        """

    def next_question(self, name: str) -> None:  # noqa: B027, most models need not know
        """The name of the question that is asked next.

        A service that is asked twice under one name answers it once, and bills it once.
        """


class WrappedVLM(VLM):
    """A model that passes everything on to another, whose attributes it has.

    Args:
        vlm: the other model.
    """

    def __init__(self, vlm: VLM) -> None:
        self._vlm = vlm
        self.name, self.image_size, self.bills = vlm.name, vlm.image_size, vlm.bills
        self.in_flight, self.images_in_flight = vlm.in_flight, vlm.images_in_flight

    def images(
        self,
        images: Sequence[ImageSource],
        progress: Progress | None = None,
        *,
        keep: bool = True,
    ) -> ImageSet:
        """See :meth:`VLM.images`."""
        return self._vlm.images(images, progress, keep=keep)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        return self._vlm.classifier(classnames, init)

    def next_question(self, name: str) -> None:
        """See :meth:`VLM.next_question`."""
        self._vlm.next_question(name)

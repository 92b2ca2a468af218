"""Optional interface of models that serve several clients at once, which the server uses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Prompts
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.blackbox.wrappers import WrappedVLM


@dataclass(frozen=True)
class Question:
    """A query of one client.

    Attributes:
        box: the model, opened on C class names.
        prompts: P, see :meth:`BlackBox.logits`.
        images: N images of the same model.
    """

    box: BlackBox
    prompts: Prompts
    images: ImageSet

    @property
    def in_words(self) -> bool:
        """Whether its prompts are templates."""
        return not isinstance(self.prompts, np.ndarray)

    @property
    def texts(self) -> int:
        """Number of texts to score, P · C."""
        return len(self.prompts) * len(self.box.classnames)


class ServingVLM(VLM):
    """A model that may serve several clients faster; every method has a default.

    Attributes:
        has_features: whether images and texts have features whose cosine decides the logits.
    """

    has_features: bool = False

    def opening(
        self, classnames: Sequence[str], init: str = DEFAULT_INIT
    ) -> Generator[None, None, BlackBox]:
        """Open the model in parts of a fraction of a second, see :meth:`VLM.classifier`.

        Yields:
            Between the parts, when other work may be done.

        Returns:
            The classifier.
        """
        yield from ()
        return self.classifier(classnames, init)

    def opening_texts(self, texts: Sequence[str]) -> Generator[None, None, BlackBox]:
        """Open the model on whole texts in parts, as :meth:`opening` does on class names.

        The texts are scored under the template "{}". Texts whose tokens are equal are accepted,
        whereas a classifier may refuse them as class names.
        """
        return (yield from self.opening(texts))

    def batching_key(self, question: Question) -> Hashable:
        """Key of questions that :meth:`answer` answers faster in one call than one by one.

        By default, it consists of the classes, the images and the form of the prompts.
        """
        form = 0 if question.in_words else np.ndim(question.prompts)
        return question.box, question.images, form

    def scorer(self, box: BlackBox, prompts: Prompts) -> Callable[[ImageSet], np.ndarray]:
        """A function that scores the same P prompts on one set of images after another.

        A model that has features of texts computes them here, once, instead of in each call.

        Args:
            box: this model, opened on C class names.
            prompts: P, see :meth:`BlackBox.logits`.

        Returns:
            A function from N images of this model to logits (P, N, C) float32.
        """
        return lambda images: np.stack(list(box.logits(prompts, images)))

    def answer(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """Logits (P, N, C) of each question; all must have the same :meth:`batching_key`."""
        first = questions[0]
        if len(questions) == 1:
            prompts = first.prompts
        elif first.in_words:
            prompts = [prompt for question in questions for prompt in question.prompts]
        else:
            prompts = np.concatenate([np.asarray(question.prompts) for question in questions])
        logits = np.stack(list(first.box.logits(prompts, first.images)))
        ends = np.cumsum([len(question.prompts) for question in questions])[:-1]
        return np.split(logits, ends)


class _Plain(WrappedVLM, ServingVLM):
    """Wrapper that adds the default implementations to any model."""


def serving(vlm: VLM) -> ServingVLM:
    """The model itself where it has this interface, otherwise the model with the defaults."""
    return vlm if isinstance(vlm, ServingVLM) else _Plain(vlm)

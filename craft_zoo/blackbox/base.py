"""Abstract interface of a model that can only be queried."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.image_tokens import Embeddings
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template
from craft_zoo.blackbox.usage import Usage
from craft_zoo.data.images import ImageSource
from craft_zoo.data.naming import check_ordered
from craft_zoo.errors import CraftZooError
from craft_zoo.records import short

Prompt = np.ndarray | str | tuple[str, ...]
"""A context (n_ctx, dim), or (C, n_ctx, dim) with one for each class; or a template such as
"a photo of a {}.", or a tuple of C templates, one for each class."""

Prompts = np.ndarray | Sequence[str | tuple[str, ...]]
"""P contexts, (P, n_ctx, dim) or (P, C, n_ctx, dim), or P templates or tuples of C templates."""

Progress = Callable[[int, int], None]
"""Called with the number of images done and the total number."""


def several(prompt: Prompt, count: int = 1) -> Prompts:
    """A prompt repeated ``count`` times, in the form that :meth:`BlackBox.logits` takes."""
    return np.stack([prompt] * count) if isinstance(prompt, np.ndarray) else [prompt] * count


def check_given(texts: Sequence[str], what: str) -> None:
    """Check that an argument is a sequence of texts that is not empty.

    Raises:
        CraftZooError: it is empty, a single text, a set or a mapping, or contains something else.
    """
    check_ordered(texts, what)
    if not len(texts):
        raise CraftZooError(f"no {what} were given: give at least one")
    for text in texts:
        if not isinstance(text, str):
            raise CraftZooError(f"{what} must be texts, not {short(text)}: give words for it")


class Asked(NamedTuple):
    """A query in words.

    Attributes:
        prompts: templates, or tuples of templates with one for each class.
        texts: texts that do not exclude each other, in place of the class names; None: the classes.
        times: number of queries of this size; those after the first have other prompts.
    """

    prompts: tuple[str | tuple[str, ...], ...]
    texts: tuple[str, ...] | None = None
    times: int = 1


class ImageSet:
    """Handle on images that were passed to a model. The model's features are not accessible.

    Args:
        sources: the N images as they were passed.
        owner: the model.
    """

    def __init__(self, sources: Sequence[ImageSource], owner: VLM) -> None:
        self.sources, self.owner = sources, owner

    def __len__(self) -> int:
        return len(self.sources)


Images = TypeVar("Images", bound=ImageSet)


def own_images(images: ImageSet, kind: type[Images], owner: VLM) -> Images:
    """Cast an image set to a model's own class ``kind``, after checking that ``owner`` made it.

    Raises:
        CraftZooError: another model made it.
    """
    if not isinstance(images, kind) or getattr(images, "owner", None) is not owner:
        raise CraftZooError(
            "the images belong to another model: create them with this model's images()"
        )
    return images


class BlackBox(ABC):
    """A model opened on C class names: prompts and images in, class logits out.

    Attributes:
        accepts: kinds of prompts that it accepts, a subset of {"contexts", "texts"}.
        template: the prompt with which it was opened, for example "a photo of a {}.".
        initial_context: (n_ctx, dim) float32, the embeddings of the words before the class name;
            (0, 0) if the model accepts texts only.
        classnames: the C class names, in the order of the logits' columns.
        questions: alternatives of the question that a text prompt may begin with; empty for models
            that are asked no questions.
    """

    accepts: frozenset[str]
    questions: tuple[str, ...] = ()
    template: str = as_template(DEFAULT_INIT)
    initial_context: np.ndarray = np.zeros((0, 0), np.float32)
    classnames: tuple[str, ...]

    @property
    def initial_prompt(self) -> Prompt:
        """The prompt from which a search starts: the initial context, else the template."""
        return self.initial_context if "contexts" in self.accepts else self.template

    @property
    def held_bytes(self) -> int:
        """Bytes that it currently holds, without the model and the class names."""
        return self.initial_context.nbytes

    @abstractmethod
    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """Score every prompt on every image.

        Args:
            prompts: (P, n_ctx, dim) float32 contexts shared by all classes, or (P, C, n_ctx, dim)
                contexts for each class; or P templates, in which ``{}`` stands for the class name,
                or P tuples of C templates, one for each class.
            images: N images of the same model.

        Returns:
            P arrays (N, C) float32, in the order of the prompts, one at a time to bound memory. If
            the model returns probabilities, their logarithms.
        """

    def fits(self, prompt: str) -> bool:
        """Whether a template is short enough for the model, if that is known without a query."""
        return True

    def score(self, prompt: Prompt, images: ImageSet) -> np.ndarray:
        """(N, C) logits under one prompt.

        Raises:
            CraftZooError: the answer has a wrong shape or holds NaN or infinity.
        """
        answers = iter(self.logits(several(prompt), images))
        return next(checked(answers, (1, len(images), len(self.classnames))))


def checked(answers: Iterator[np.ndarray], shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Yield a model's answers after validating each.

    Args:
        answers: logits (N, C) of each context.
        shape: expected (P, N, C): numbers of contexts, images and texts.

    Raises:
        CraftZooError: while iterating, if an answer has a wrong shape or holds NaN or infinity, or
            if there are not exactly P answers.
    """
    count = 0
    for answer in answers:
        if answer.shape != shape[1:]:
            raise CraftZooError(
                f"the model answered with logits of shape {answer.shape} instead of {shape[1:]}: "
                f"check that it knows the images and classes it was opened on"
            )
        if not np.isfinite(answer).all():
            raise CraftZooError(
                "the model answered with NaN or infinite logits: check its weights and precision"
            )
        count += 1
        yield answer
    if count != shape[0]:
        raise CraftZooError(f"the model answered {count} of {shape[0]} contexts: ask its owner")


class VLM(ABC):
    """A vision-language model that can only be queried.

    Attributes:
        name: name under which :func:`craft_zoo.blackbox.load_vlm` opens it.
        image_size: height and width of the model's input, in pixels.
        in_flight: preferred number of contexts in a query. With a :class:`Journal`, a
            kill loses the answers of up to that many, on ``images_in_flight`` images.
        images_in_flight: preferred number of images in a query; None: all images of a set.
        bills: whether it is a service that bills predictions, see :meth:`next_question`.
        counts_usage: whether :attr:`billed` says what it bills.
        asks_texts_apart: whether :meth:`independent` differs from :meth:`classifier`.
        sells_vectors: whether its interface returns vectors of images, see :meth:`features`.
        answer_options: the options, as in ``permutations=2``, that change the answers and are not
            part of the name; "" if all have their defaults.
        precision: floating-point type of a model on this machine: ``fp32``, ``fp16`` or ``bf16``.
        refused: number of questions that a service has refused to answer.
        decimals: most decimals that a service's probabilities were seen to have, which tell what a
            zero stands for; None: not known, or it returns no probabilities.
    """

    name: str
    image_size: int = 224
    in_flight: int = 1
    images_in_flight: int | None = None
    bills: bool = False
    counts_usage: bool = False
    asks_texts_apart: bool = False
    sells_vectors: bool = False
    answer_options: str = ""
    precision: str = "fp32"
    refused: int = 0
    decimals: int | None = None

    def note_decimals(self, decimals: int | None) -> None:
        """Raise :attr:`decimals` to a number that answers or an adapter show; None: they do not."""
        if decimals is not None:
            self.decimals = max(decimals, self.decimals or 0)

    @abstractmethod
    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageSet:
        """Pass images to the model, once. Features, if the model has any, stay inside it.

        Args:
            images: N images.
            progress: called as the model processes the images.
            keep: whether later runs will use the images again, so that caching them pays.
        """

    @abstractmethod
    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """Open the model on class names; several label sets may be opened on the same images.

        Args:
            classnames: C class names.
            init: initial prompt, as the words before the class name ("a photo of a") or as a
                template ("a photo of a {}, a type of pet."). A context replaces these words.
        """

    def independent(self, texts: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """Open the model on texts that do not exclude each other, such as anchors.

        The logits of most models do not depend on the other texts; a service whose class
        probabilities add up to 1 is asked in another way.

        Args:
            texts: texts that take the place of class names.
            init: see :meth:`classifier`.
        """
        return self.classifier(texts, init)

    def expected_usage(
        self,
        asked: Sequence[Asked],
        images: Sequence[ImageSource],
        classnames: Sequence[str],
        init: str = DEFAULT_INIT,
    ) -> Usage:
        """Estimate of what the model will bill for queries; it is not asked.

        Args:
            asked: the queries.
            images: images that each query is about.
            classnames: C class names.
            init: see :meth:`classifier`.
        """
        count = sum(len(each.prompts) * each.times for each in asked)
        return Usage(predictions=count * len(images))

    def features(self, images: ImageSet) -> np.ndarray:
        """(N, dim) float32 vectors of N images of this model, normalised.

        They are internals of a model on this machine, and what some services sell.

        Raises:
            CraftZooError: the model returns none.
        """
        raise CraftZooError(f"{self.name} has no features of images")

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        """(T, dim) float32 vectors of T texts, normalised, as :meth:`features` of images.

        Raises:
            CraftZooError: the model returns none.
        """
        raise CraftZooError(f"{self.name} has no features of texts")

    def feature_lengths(self, images: ImageSet) -> np.ndarray | None:
        """(N,) float32 lengths of the features of N images of this model, before normalisation.

        They are internals of a model on this machine; None: the model does not return them. A
        model's logits times these lengths are those of code that forgets to normalise features.
        """
        return None

    def description(self) -> dict[str, str]:
        """What tells the model from others that may be served under its name, see
        :func:`check_described`. A fingerprint of weights on this machine is computed here.

        It holds only what is known, so {} if nothing is.
        """
        return {}

    def identity(self) -> dict[str, str]:
        """What tells the model from one that bears its name at another time, {} if none can.

        An address may come to serve another model, and a file to hold other weights.
        """
        return self.description() if self.bills else {}

    def embeddings(self) -> Embeddings | None:
        """Numbers about the embeddings of a model on this machine; None: it returns none."""
        return None

    def nearest_words(self, vectors: np.ndarray) -> list[tuple[str, float]] | None:
        """For each of V vectors of a context, (V, dim), the nearest token and its distance.

        The distance is Euclidean, between embeddings. They are internals of a model on this
        machine; None: the model does not return them.
        """
        return None

    @cached_property
    def cost_limit(self) -> CostLimit:
        """Counts the usage, of a language model too (:attr:`Usage.llm`); it has no limit."""
        return CostLimit()

    @property
    def billed(self) -> Usage:
        """Usage billed so far, by a language model and by the model, if it reports its usage."""
        return self.cost_limit.usage.llm

    def remembered(self, make: Callable[[], str], example: str) -> str:
        """The text that ``make`` returns, which may differ each time and may be paid for.

        With a :class:`Journal` it is recorded, and a restarted program does not make it again.

        Args:
            make: makes the text; :attr:`cost_limit` counts its cost.
            example: a text of the same form, with which a dry run predicts the queries.
        """
        return make()

    def keep_responses(self, path: Path) -> None:  # noqa: B027, most models ignore it
        """Keep the responses to the current query in a file, for a service that bills each.

        If the process is killed within a query, the responses that arrived are found there.
        """

    def retry_for(self, seconds: float) -> None:  # noqa: B027, most models ignore it
        """Set the time for which a request to a service that does not answer is sent again."""

    def next_question(self, name: str) -> None:  # noqa: B027, most models ignore it
        """Set the name of the next query.

        A service that receives two queries of one name answers and bills them once.
        """

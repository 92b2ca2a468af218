"""Fixtures for methods: a model, a search and draws that are written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from craft_zoo.blackbox import VLM, BlackBox, ImageSet
from craft_zoo.blackbox.base import Progress
from craft_zoo.data.images import ImageSource
from craft_zoo.openclip import OpenCLIP
from craft_zoo.optimizers import Optimizer


class ByHand(VLM):
    """Two classes; an image's logit of its own class is the context's first number.

    Args:
        shape: of a context.
        lengths: of the images' features.

    Attributes:
        box: the model opened on classes, with ``asked``, number of contexts and images by query.
        init: the prompt that it was opened with.
    """

    name, image_size = "by hand", 8

    def __init__(self, *shape: int, lengths: np.ndarray | None = None) -> None:
        self.box, self.init, self._lengths = Box(shape), "", lengths

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageSet:
        return ImageSet(images, self)

    def classifier(self, classnames: Sequence[str], init: str = "") -> BlackBox:
        self.init = init
        return self.box

    def feature_lengths(self, images: ImageSet) -> np.ndarray | None:
        return self._lengths


class Box(BlackBox):
    accepts = frozenset({"contexts"})
    classnames = ("a", "b")

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.initial_context = np.zeros(shape, np.float32)
        self.asked: list[tuple[int, Sequence[ImageSource]]] = []

    def logits(self, prompts: Any, images: ImageSet) -> Iterator[np.ndarray]:
        self.asked.append((len(prompts), images.sources))
        for prompt in prompts:
            yield (float(prompt[0, 0]) * np.eye(2)).astype(np.float32)


class Script(Optimizer):
    """Asks for the contexts 1 and 2 and recommends the latter.

    Args:
        slope: of the context in the candidate.
    """

    told: np.ndarray

    def __init__(self, slope: float) -> None:
        super().__init__(1, budget=2, seed=1)
        self.slope = slope

    def _ask(self) -> np.ndarray:
        return np.array([[1.0], [2.0]]) / self.slope

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Any) -> None:
        self.told = losses

    def recommend(self) -> np.ndarray:
        return np.array([2.0]) / self.slope


class Written(Optimizer):
    """Asks generations that are written down, each candidate by its first coordinate."""

    def __init__(self, dim: int, generations: list[list[float]]) -> None:
        super().__init__(dim, budget=sum(map(len, generations)), seed=1)
        self.generations = generations
        self.told: list[list[float]] = []

    def _ask(self) -> np.ndarray:
        firsts = np.array(self.generations.pop(0))[:, None]
        return np.pad(firsts, [(0, 0), (0, self.dim - 1)])

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Any) -> None:
        self.told.append(losses.tolist())

    def recommend(self) -> np.ndarray:
        raise AssertionError("the best candidate is deployed")


class Deltas:
    """A generator of given sizes and signs."""

    def __init__(self, *deltas: list[list[float]]) -> None:
        self.deltas = [np.array(each) for each in deltas]

    def uniform(self, low: float, high: float, shape: tuple[int, int]) -> np.ndarray:
        assert (low, high, shape) == (0.5, 1, self.deltas[0].shape)
        return np.abs(self.deltas[0])

    def choice(self, signs: list[float], shape: tuple[int, int]) -> np.ndarray:
        assert signs == [-1, 1]
        return np.sign(self.deltas.pop(0))


@pytest.fixture
def by_hand() -> Callable[..., Any]:
    """Makes a :class:`ByHand`."""
    return ByHand


@pytest.fixture
def script() -> Callable[[float], Any]:
    """Makes a :class:`Script`."""
    return Script


@pytest.fixture
def written() -> Callable[..., Any]:
    """Makes a :class:`Written`."""
    return Written


@pytest.fixture
def embedded() -> Callable[..., torch.Tensor]:
    """What a vision transformer normalises first: its class token, patches and (n, w) tokens."""

    def embed(vlm: OpenCLIP, sources: Sequence[ImageSource], tokens: np.ndarray) -> torch.Tensor:
        visual = vlm._model.visual
        pixels = torch.stack([vlm._encode_images._prepare(each) for each in sources])
        patches = visual.conv1(pixels).flatten(2).permute(0, 2, 1)
        first = visual.class_embedding.expand(len(sources), 1, -1)
        read = torch.cat([first, patches], dim=1) + visual.positional_embedding
        return torch.cat([read, torch.from_numpy(tokens).expand(len(sources), -1, -1)], dim=1)

    return embed


@pytest.fixture
def deltas() -> Callable[..., Any]:
    """Makes :class:`Deltas`."""
    return Deltas

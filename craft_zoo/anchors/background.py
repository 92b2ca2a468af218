"""Covariance of a model's answers about images of anything, a prior for the tasks of that model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from craft_zoo.anchors.anchors import Anchors
from craft_zoo.anchors.words import anchor_words, word_list
from craft_zoo.blackbox.base import VLM, Progress, several
from craft_zoo.blackbox.identity import check_described
from craft_zoo.counts import checked_whole, counted
from craft_zoo.data.images import ImageSource, as_images
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.files import FREE_SPACE, HashedPath, write_atomically, writing
from craft_zoo.metrics import predicted
from craft_zoo.records import check, parse, seal_holds, sealed
from craft_zoo.refiner.convex import centred
from craft_zoo.seeding import generator

IMAGES, WORDS = 800, 320
_FORMAT = "craft-zoo background 1"
_RIDGE = 0.003  # share of the mean variance that is added to all variances
_ENOUGH = 8  # images that show whether they are like those of a background
_OWN_DIRECTIONS, _MORE = 0.5, 1.2  # share of the directions, factor of the variance: see is_like
_NOISE = 10, 4  # percentile of the variances, which is taken for noise, and its factor in the ridge
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Text = Annotated[str, Field(min_length=1)]


class _File(BaseModel):
    """The content of a background file."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["craft-zoo background 1"]
    model: _Text
    images: Annotated[int, Field(ge=2)]
    words: Annotated[list[_Text], Field(min_length=2)]
    covariance: list[list[_Number]]
    described: dict[str, str] = Field(default_factory=dict)
    checksum: str


class BackgroundFile(HashedPath):
    """Path of a background file, with a hash of its content."""

    __slots__ = ()
    what = "a background"
    limit = 2**26  # all 1,095 words take 16 MB

    def load(self) -> Background:
        """The background.

        Raises:
            CraftZooError: the file is missing, has changed since the hash was made, or is none.
        """
        return _load(str(self))


@cache  # of a path with a hash, which planning and every run of a grid load
def _load(path: str) -> Background:
    content = (file := BackgroundFile(path)).content()
    try:
        values = parse(content)
        found: _File = check(_File, values)
        if not seal_holds(values):
            raise ValueError("it does not match its checksum")
        words = tuple(found.words)
        covariance = np.array(found.covariance, dtype=np.float64)
        if covariance.shape != (len(words),) * 2:
            raise ValueError(f"it has no covariance of {len(words)} words")
    except ValueError as error:
        raise CraftZooError(
            f"{file.path} is no background ({error}): make one with craft-zoo background"
        ) from None
    return Background(found.model, found.images, words, covariance, found.described)


@dataclass(frozen=True)
class Background:
    """How a model's logits of W words vary together over images of anything.

    It tells a refiner which differences of logits are small in all images, so that those are large
    evidence: its features are whitened by the covariance. Hariharan, Malik and Ramanan (2012,
    "Discriminative decorrelation for clustering and classification") do so for image gradients.

    Attributes:
        model: name of the model.
        images: number of images.
        words: the W words.
        covariance: (W, W) float64 of the logits, each less the mean over the words.
        described: :meth:`VLM.identity` of the model.
    """

    model: str
    images: int
    words: tuple[str, ...]
    covariance: np.ndarray
    described: dict[str, str] = field(default_factory=dict)

    def check_model(self, vlm: VLM, path: str) -> None:
        """Check that the background is of a model, which may have moved to another address.

        Args:
            vlm: the model.
            path: of the background's file, for the message.

        Raises:
            CraftZooError: it is of another one.
        """
        now = vlm.identity()
        if self.model != vlm.name and not all(
            "fingerprint" in one for one in (self.described, now)
        ):
            raise CraftZooError(
                f"{path} is the background of {self.model}: make one of {vlm.name} with "
                f"craft-zoo background"
            )
        mend = "make a background of it with craft-zoo background"
        check_described(vlm.name, self.described, now, f"{path} was made", mend)

    def save(self, path: str | Path) -> None:
        """Write a file that :class:`BackgroundFile` reads.

        Raises:
            CraftZooError: the file cannot be written.
        """
        rows = [[float(f"{value:.6g}") for value in row] for row in self.covariance]
        content = sealed({"format": _FORMAT, **asdict(self), "covariance": rows})
        with writing(path, f"{FREE_SPACE}, which pays for nothing again"):
            write_atomically(Path(path), content)

    def is_like(self, logits: np.ndarray, words: Sequence[str]) -> bool:
        """Whether images seem to be like those of the background, to which it does harm.

        Once whitened, the background's own images vary alike in all directions, and others by some
        of them more than by the rest, and more in all. Below eight images this shows too little.

        Args:
            logits: (N, M) centred logits of N images.
            words: M of the words.
        """
        if len(logits) < _ENOUGH:
            return False
        matrix, n_words = self.whitening(words), len(words)
        variance, directions = spread(logits @ matrix)
        own = float(np.trace(matrix @ self._covariance_of(words) @ matrix))
        # New images of one kind vary more by 1 / (1 - M/N) than N images whose covariance is known.
        unknown = 1 - n_words / self.images
        most = _MORE * own / unknown if unknown > 0 else np.inf
        return directions > _OWN_DIRECTIONS * n_words and variance < most

    def _covariance_of(self, words: Sequence[str]) -> np.ndarray:
        """(M, M) covariance of the logits of M words, each less the mean over these words."""
        places = [self.words.index(word) for word in words]
        centring = np.eye(len(places)) - 1 / len(places)
        return centring @ self.covariance[np.ix_(places, places)] @ centring

    def whitening(self, words: Sequence[str]) -> np.ndarray:
        """Symmetric (M, M) float32 matrix that makes the logits of M words vary alike.

        It is the inverse square root of their covariance relative to its mean variance, to which
        0.003 are added, and four times the tenth percentile of its eigenvalues: that is next to 0
        unless the answers are noisy. Logits that are equal for all words stay so.

        Args:
            words: M of the words.
        """
        covariance = self._covariance_of(words)
        covariance /= max(float(np.trace(covariance)) / len(covariance), 1e-12)
        variances, axes = np.linalg.eigh(covariance)
        variances = variances.clip(0)
        percentile, factor = _NOISE
        ridge = _RIDGE + factor * float(np.percentile(variances, percentile))
        return ((axes / np.sqrt(variances + ridge)) @ axes.T).astype(np.float32)


def spread(x: np.ndarray) -> tuple[float, float]:
    """tr(S) and tr(S)² / tr(S²) of the covariance S of (N, K) features, N at least 4.

    The second is the number of directions in which they vary: K for independent features of equal
    variance. Both traces are estimated without bias (Chen, Zhang and Zhong 2010, "Tests for
    high-dimensional covariance matrices"), as a covariance of few images has few directions.
    """
    n, width = x.shape
    x = x.astype(np.float64)
    x -= x.mean(axis=0)
    own = np.square(x).sum(axis=1)
    # Sums of the products of different images, without a matrix of all pairs of images.
    rows = x @ x.sum(axis=0) - own
    total, of_rows = float(rows.sum()), float(np.square(rows).sum())
    squares = float(np.square(x.T @ x).sum() - np.square(own).sum())
    pairs = n * (n - 1)
    trace = float(own.mean()) - total / pairs
    squared = squares / pairs - 2 * (of_rows - squares) / (pairs * (n - 2))
    squared += (total**2 - 4 * of_rows + 2 * squares) / (pairs * (n - 2) * (n - 3))
    return trace, trace**2 / squared if squared * width > trace**2 else float(width)


def ask_background(
    vlm: VLM,
    images: Sequence[ImageSource],
    n_words: int = WORDS,
    *,
    progress: Progress | None = None,
) -> Background:
    """Ask a model about words of the shipped list, on images of anything::

        background = ask_background(load_vlm("craft-mini"), dead_leaves(800))

    Args:
        vlm: the model.
        images: at least two images, as different as possible.
        n_words: number of words; an image costs as much as its prediction with so many classes.
        progress: called as the model processes the images.

    Images that a service refuses to answer about are left out: their logits are 0.

    Raises:
        CraftZooError: there are too few images, also after refused ones were left out, or too many
            words, or an image cannot be read.
    """
    words, images = background_words(n_words), as_images(images)
    check_images(images)
    if len(images) < len(words):
        warnings.warn(
            f"{counted(len(images), 'image')} are few for {counted(len(words), 'word')}: the "
            f"background does harm if they are like those of a task of one shot a class; give at "
            f"least as many images as words, or none, so that images are drawn",
            CraftZooWarning,
            stacklevel=2,
        )
    box = vlm.independent(words)
    asked = Anchors(words, several(box.initial_prompt))
    logits = asked.logits(box, vlm.images(images, progress, keep=False)).astype(np.float64)
    answered = logits[predicted(logits) >= 0]
    if len(answered) < 2:
        raise CraftZooError(
            f"{vlm.name} refused to answer about {len(images) - len(answered)} of "
            f"{counted(len(images), 'image')}, and a background needs two: give other images"
        )
    covariance = np.cov(centred(answered), rowvar=False)
    return Background(vlm.name, len(answered), words, covariance, vlm.identity())


def check_images(images: Sequence[ImageSource]) -> None:
    """Check that there are images enough for a background.

    Raises:
        CraftZooError: there are fewer than two.
    """
    if len(images) < 2:
        raise CraftZooError("a background needs at least two images: give more")


def background_words(count: int) -> tuple[str, ...]:
    """The words of a background, the same for all models.

    Raises:
        CraftZooError: the count is no whole number from 2 to the number of shipped words.
    """
    most, count = len(word_list()), checked_whole("n_words", count, 0)
    if not 2 <= count <= most:
        raise CraftZooError(
            f"a background has 2 to {most:,} words, not {count:,}: change n_words (--words)"
        )
    return anchor_words(count, without=(), rng=generator(0, "background"))

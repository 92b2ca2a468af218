"""Any function that scores prompts on images, seen as a black box."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import Image

from craft_zoo.blackbox.base import (
    VLM,
    BlackBox,
    ImageSet,
    Progress,
    Prompts,
    check_given,
    own_images,
)
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template, fill
from craft_zoo.data.images import ImageSource, as_images, open_image
from craft_zoo.errors import CraftZooError
from craft_zoo.threads import in_order

Answers = Literal["logits", "probabilities"]

_FLOOR = 1e-12  # a probability that a service has rounded to 0 has no logarithm
_ROUNDING = 1e-3  # that a probability may be above 1 by
_KEPT_BYTES = 2**28  # of decoded images; what is more is opened each time it is asked about

Result = TypeVar("Result")


def from_callable(
    f: Callable[..., Any],
    *,
    name: str = "callable",
    answers: Answers = "logits",
    initial_context: np.ndarray | None = None,
    batch: int = 32,
    concurrency: int = 8,
    image_size: int = 224,
    in_flight: int | None = None,
) -> VLM:
    """A model out of a function of your own, as the client of a service is::

        def ask(prompts, images):          # "a photo of a cat.", …; RGB images of Pillow
            return client.scores(texts=prompts, pictures=images)

        vlm = from_callable(ask, name="my-service", answers="probabilities")
        tuned = tune(vlm, task, method="craft-hard", budget=500)

    Without ``initial_context`` the model takes words: ``f(prompts, images)`` gets a prompt for each
    of the C classes and returns (len(images), C). With it the model takes contexts instead:
    ``f(contexts, classnames, images)`` gets them as (P, n_ctx, dim) or (P, C, n_ctx, dim) float32
    and returns (P, len(images), C). Arrays, tensors and lists will do.

    Args:
        f: the function, which may be async.
        name: see :attr:`VLM.name`; :func:`craft_zoo.blackbox.load_vlm` cannot open it by that.
        answers: what it returns; of probabilities the logarithms are taken.
        initial_context: (n_ctx, dim), the embeddings that a search of contexts starts from.
        batch: the most images that it is given at once.
        concurrency: how many calls of an async function may be under way; a plain one is called
            by one thread, one call after another.
        image_size: see :attr:`VLM.image_size`.
        in_flight: see :attr:`VLM.in_flight`; the most contexts that it is given at once. By default
            1, and of words, which an async function is given one by one, ``concurrency``.

    Raises:
        CraftZooError: an argument is out of range.
    """
    if answers not in ("logits", "probabilities"):
        raise CraftZooError(
            f"{name} cannot answer with {answers!r}: say answers='logits' or 'probabilities'"
        )
    for what, value in (("batch", batch), ("concurrency", concurrency), ("in_flight", in_flight)):
        if value is not None and value < 1:
            raise CraftZooError(f"{what} of {name} must be at least 1, not {value}")
    if initial_context is not None:
        initial_context = np.asarray(initial_context, dtype=np.float32)
        if initial_context.ndim != 2 or not initial_context.size:
            raise CraftZooError(
                f"the initial context of {name} must have the shape (n_ctx, dim), not "
                f"{initial_context.shape}: give one embedding a word"
            )
    call = _Call(f, name, answers, concurrency)
    if in_flight is None:
        in_flight = call.concurrency if initial_context is None else 1
    return _CallableVLM(call, initial_context, batch, image_size, in_flight)


def log_of(probabilities: np.ndarray) -> np.ndarray:
    """Their logarithms, float32 and finite."""
    floored = np.maximum(np.asarray(probabilities, np.float64), _FLOOR)
    return np.log(floored).astype(np.float32)


class _Call:
    """The function, called in order; what it does wrong is said in a sentence."""

    def __init__(
        self, f: Callable[..., Any], name: str, answers: Answers, concurrency: int
    ) -> None:
        self._f, self.name, self._answers = f, name, answers
        method = getattr(f, "__call__", None)  # noqa: B004, an object's may be async
        self._is_async = inspect.iscoroutinefunction(f) or inspect.iscoroutinefunction(method)
        self.concurrency = concurrency if self._is_async else 1

    def each(
        self, arguments: Iterator[tuple[tuple[Any, ...], tuple[int, ...]]]
    ) -> Iterator[np.ndarray]:
        """An answer for each tuple of arguments, in order; beside them the shape that it has."""
        if not self._is_async:
            for these, shape in arguments:
                yield self._checked(self._run(these), shape)
            return
        shapes: list[tuple[int, ...]] = []

        def begin(item: tuple[tuple[Any, ...], tuple[int, ...]]) -> Future[Any]:
            shapes.append(item[1])
            return self._begin(lambda: self._f(*item[0]))

        for answer in self._uncancelled(
            in_order(begin, arguments, self.concurrency, fail_fast=True)
        ):
            yield self._checked(answer, shapes.pop(0))

    def _run(self, arguments: tuple[Any, ...]) -> Any:
        try:
            answer = self._f(*arguments)
        except Exception as error:  # a stranger's code raises whatever it likes
            raise self._failed(error) from error
        if not inspect.isawaitable(answer):
            return answer
        # A plain function may return one all the same.
        [result] = self._uncancelled(in_order(self._begin, [lambda: answer], 1))
        return result

    def _begin(self, call: Callable[[], Awaitable[Any]]) -> Future[Any]:
        return _LOOP.begin(self._await(call))

    async def _await(self, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # the latter end the loop
            raise self._failed(error) from error

    def _uncancelled(self, answers: Iterator[Any]) -> Iterator[Any]:
        """As they are; where the callable has cancelled itself, that is said."""
        try:
            yield from answers
        except CancelledError as error:
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> CraftZooError:
        if isinstance(error, CraftZooError):
            return error
        text = str(error).strip()
        reason = f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
        return CraftZooError(
            f"{self.name} failed ({reason}): mend the callable or its service, then ask again"
        )

    def _checked(self, answer: Any, shape: tuple[int, ...]) -> np.ndarray:
        try:
            scores = np.asarray(answer, dtype=np.float64)
        except Exception as error:  # of arrays of other libraries, too
            raise CraftZooError(
                f"{self.name} returned {type(answer).__name__} instead of an array of numbers "
                f"{shape} ({str(error).splitlines()[0] if str(error) else type(error).__name__}): "
                f"return one that numpy can read"
            ) from None
        if scores.shape != shape:
            raise CraftZooError(
                f"{self.name} returned an array of shape {scores.shape} instead of {shape}: return "
                f"a score for each image and prompt"
            )
        if not np.isfinite(scores).all():
            raise CraftZooError(f"{self.name} returned NaN or infinity: return finite scores")
        if self._answers == "logits":
            largest = np.abs(scores).max(initial=0.0)
            if largest > np.finfo(np.float32).max:
                raise CraftZooError(
                    f"{self.name} returned a score of size {largest:g}, which float32 cannot hold: "
                    f"return smaller ones"
                )
            return scores.astype(np.float32)
        if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
            wrong = scores.min() if scores.min() < 0 else scores.max()
            raise CraftZooError(
                f"{self.name} returned {wrong:g} as a probability: say answers='logits'"
            )
        return log_of(scores)


class _Loop:
    """An event loop in a thread of its own, both begun when they are first needed.

    There is one for all callables, as clients are often bound to the loop that they were first used
    in.
    """

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """A forked process has none of its parent's threads, one of which may hold the lock."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_keep_running, args=(self._loop,), name="craft-zoo", daemon=True
                ).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def _keep_running(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):  # of a task that the callable has begun itself
            continue


_LOOP = _Loop()


class _Room:
    """Bytes that all images of a model may take when they are decoded."""

    def __init__(self) -> None:
        self._free = _KEPT_BYTES

    def take(self, size: int) -> bool:
        """Whether there is so much, which is then taken."""
        fits = size <= self._free
        self._free -= size * fits
        return fits

    def give_back(self, size: int) -> None:
        self._free += size


class _Opened(ImageSet):
    """Images, decoded once where they are few: the first ones, as far as there is room."""

    def __init__(
        self, sources: Sequence[ImageSource], owner: VLM, room: _Room, progress: Progress | None
    ) -> None:
        self.sources, self.owner = sources, owner
        self._decoded: list[Image.Image] = []
        kept = 0
        for place, source in enumerate(sources):
            image = open_image(source)  # each once, so that a broken one is known before it costs
            size = 3 * image.width * image.height
            if len(self._decoded) == place and room.take(size):
                self._decoded.append(image)
                kept += size
            if progress:
                progress(place + 1, len(sources))
        weakref.finalize(self, room.give_back, kept)

    def __len__(self) -> int:
        return len(self.sources)

    def batches(self, size: int) -> Iterator[list[Image.Image]]:
        for first in range(0, len(self), size):
            yield [self._image(place) for place in range(first, min(first + size, len(self)))]

    def _image(self, place: int) -> Image.Image:
        if place < len(self._decoded):
            return self._decoded[place]
        return open_image(self.sources[place])


class _CallableVLM(VLM):
    def __init__(
        self,
        call: _Call,
        initial_context: np.ndarray | None,
        batch: int,
        image_size: int,
        in_flight: int,
    ) -> None:
        self.name, self.image_size, self.in_flight = call.name, image_size, in_flight
        self.images_in_flight = batch * call.concurrency
        self._room = _Room()
        self._call, self._context, self._batch = call, initial_context, batch

    def images(
        self,
        images: Sequence[ImageSource],
        progress: Progress | None = None,
        *,
        keep: bool = True,
    ) -> ImageSet:
        """See :meth:`VLM.images`."""
        images = as_images(images)
        return _Opened(images, self, self._room, progress)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        check_given(classnames, "class names")
        kind = _Words if self._context is None else _Contexts
        return kind(self, self._call, self._context, self._batch, classnames, init)


class _CalledBox(BlackBox):
    """What both kinds share."""

    def __init__(
        self,
        owner: _CallableVLM,
        call: _Call,
        initial_context: np.ndarray | None,
        batch: int,
        classnames: Sequence[str],
        init: str,
    ) -> None:
        self._owner, self._call, self._batch = owner, call, batch
        self.classnames, self.template = tuple(classnames), as_template(init)
        empty = np.zeros((0, 0), np.float32)
        self.initial_context = empty if initial_context is None else initial_context.copy()

    def _joined(
        self, pieces: Iterator[np.ndarray], n_images: int, axis: int
    ) -> Iterator[np.ndarray]:
        """Answers on all images, of those on one batch after another."""
        n_batches = -(-n_images // self._batch)
        while some := [piece for _, piece in zip(range(n_batches), pieces, strict=False)]:
            yield np.concatenate(some, axis)


class _Words(_CalledBox):
    accepts = frozenset({"texts"})

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`."""
        mine = own_images(images, _Opened, self._owner)
        if isinstance(prompts, np.ndarray):
            raise CraftZooError(f"{self._owner.name} takes words only, no contexts")
        questions = (
            ((filled_of(template, self.classnames), batch), (len(batch), len(self.classnames)))
            for template in prompts
            for batch in mine.batches(self._batch)
        )
        yield from self._joined(self._call.each(questions), len(mine), 0)


class _Contexts(_CalledBox):
    accepts = frozenset({"contexts"})

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`."""
        mine = own_images(images, _Opened, self._owner)
        if not isinstance(prompts, np.ndarray):
            raise CraftZooError(f"{self._owner.name} takes contexts only, no words")
        contexts, together = np.asarray(prompts, np.float32), self._owner.in_flight
        parts = [contexts[at : at + together] for at in range(0, len(contexts), together)]
        names = list(self.classnames)
        questions = (
            ((part, names, batch), (len(part), len(batch), len(names)))
            for part in parts
            for batch in mine.batches(self._batch)
        )
        for answers in self._joined(self._call.each(questions), len(mine), 1):
            yield from answers


def filled_of(template: str | tuple[str, ...], classnames: Sequence[str]) -> list[str]:
    """The prompt of each class under one template, or under its own of as many."""
    each = (template,) * len(classnames) if isinstance(template, str) else template
    return [fill(one, name) for one, name in zip(each, classnames, strict=True)]

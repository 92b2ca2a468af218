"""User functions as models."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from craft_zoo import tune
from craft_zoo.blackbox import VLM
from craft_zoo.client import callables, from_callable
from craft_zoo.craft import CraftConfig
from craft_zoo.data import LabelledImages, Task
from craft_zoo.data.images import open_image
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import OpenCLIP

NAMES = ["cat", "dog", "blue whale"]


class Service:
    """craft-mini behind functions like those of service clients; records their arguments."""

    def __init__(self, vlm: OpenCLIP) -> None:
        self.vlm = vlm
        self.calls: list[tuple[list[str], int]] = []
        self.under_way = self.most = 0

    def words(self, prompts: list[str], images: list[Image.Image]) -> np.ndarray:
        self.calls.append((prompts, len(images)))
        assert all(image.mode == "RGB" for image in images)
        return self.vlm.classifier(prompts).score("{}", self.vlm.images(images, keep=False))

    def probabilities(self, prompts: list[str], images: list[Image.Image]) -> Any:
        logits = torch.from_numpy(self.words(prompts, images))
        return logits.softmax(-1).tolist()

    def contexts(
        self, contexts: np.ndarray, classnames: list[str], images: list[Image.Image]
    ) -> Any:
        self.calls.append((classnames, len(images)))
        box = self.vlm.classifier(classnames)
        return torch.from_numpy(
            np.stack(list(box.logits(contexts, self.vlm.images(images, keep=False))))
        )

    async def later(self, prompts: list[str], images: list[Image.Image]) -> np.ndarray:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.02 if len(self.calls) == 0 else 0.001)  # the first comes last
        self.under_way -= 1
        return self.words(prompts, images)


@pytest.fixture
def service(vlm: OpenCLIP) -> Service:
    return Service(vlm)


def test_words_come_filled_in_and_images_in_batches(service: Service, small_task: Task) -> None:
    model = from_callable(service.words, name="mine", batch=8)
    images, box = model.images(small_task.train.images), model.classifier(NAMES, "a sketch of a")
    assert (model.name, box.accepts, box.template) == ("mine", {"texts"}, "a sketch of a {}.")
    assert box.initial_context.shape == (0, 0)
    templates = [box.template, ("{} one", "{} two", "{} three")]
    answers = list(box.logits(templates, images))
    filled = [f"a sketch of a {name}." for name in NAMES]
    own = ["cat one", "dog two", "blue whale three"]
    assert service.calls == [(prompts, n) for prompts in (filled, own) for n in (8, 8, 4)]
    handed = service.vlm.images(small_task.train.images)
    for prompts, answer in zip((filled, own), answers, strict=True):
        assert answer.dtype == np.float32
        expected = service.vlm.classifier(prompts).score("{}", handed)
        np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_contexts_are_asked_about_in_parts(service: Service, small_task: Task) -> None:
    local = service.vlm.classifier(NAMES)
    start = local.initial_context
    model = from_callable(
        service.contexts, initial_context=start, batch=16, in_flight=2, name="mine"
    )
    images, box = model.images(small_task.train.images), model.classifier(NAMES)
    assert box.accepts == {"contexts"}
    assert model.in_flight == 2
    np.testing.assert_array_equal(box.initial_context, start)
    rng = np.random.default_rng(0)
    contexts = (start + 0.01 * rng.standard_normal((3, *start.shape))).astype(np.float32)
    answers = np.stack(list(box.logits(contexts, images)))
    assert [n for _, n in service.calls] == [16, 4, 16, 4]
    expected = np.stack(list(local.logits(contexts, service.vlm.images(small_task.train.images))))
    np.testing.assert_allclose(answers, expected, atol=1e-4)


def test_probabilities_become_finite_logarithms(small_task: Task) -> None:
    def ask(prompts: Sequence[str], images: Sequence[Image.Image]) -> Any:
        return [[1.0, 0.0, 0.25] for _ in images]

    model = from_callable(ask, answers="probabilities")
    logits = model.classifier(NAMES).score("{}", model.images(small_task.train.images[:2]))
    np.testing.assert_allclose(logits[:, [0, 2]], np.log([[1, 0.25]] * 2), rtol=1e-6)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[:, 1], np.log(0.0005), rtol=1e-6)  # below a last decimal


@pytest.mark.parametrize("concurrency", [1, 3])
def test_async_calls_overlap_within_bounds_and_keep_their_order(
    concurrency: int, service: Service, small_task: Task
) -> None:
    model = from_callable(service.later, batch=4, concurrency=concurrency)
    plain = from_callable(service.words, batch=4)
    templates = ["a photo of a {}.", "{}"]
    answers, expected = (
        np.stack(list(one.classifier(NAMES).logits(templates, one.images(small_task.train.images))))
        for one in (model, plain)
    )
    np.testing.assert_array_equal(answers, expected)
    assert service.most == concurrency


def test_a_client_stays_in_one_loop(small_task: Task) -> None:
    loops, threads = set(), set()

    async def ask(prompts: list[str], images: list[Image.Image]) -> Any:
        loops.add(asyncio.get_running_loop())
        threads.add(threading.current_thread())
        return np.zeros((len(images), len(prompts)))

    for f in (ask, lambda prompts, images: ask(prompts, images)):
        model = from_callable(f)
        images = model.images(small_task.train.images[:2])
        model.classifier(NAMES).score("{}", images)
    assert len(loops) == len(threads) == 1
    assert threading.main_thread() not in threads


def broken(answer: Any) -> VLM:
    def ask(prompts: list[str], images: list[Image.Image]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return from_callable(ask, name="mine", answers="probabilities")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (TimeoutError("no answer\nfrom host"), r"mine failed \(TimeoutError: no answer\): mend"),
        (KeyError(), r"mine failed \(KeyError\): mend"),
        (np.zeros((3, 2)), r"shape \(3, 2\) instead of \(2, 3\)"),
        ([[1, 2], [3]], r"mine returned list instead of an array of numbers \(2, 3\)"),
        ("cat", "mine returned str instead of an array"),
        (np.full((2, 3), np.nan), "mine returned NaN or infinity"),
        (np.full((2, 3), np.inf), "mine returned NaN or infinity"),
        (np.full((2, 3), 3.5), "mine returned 3.5 as a probability: divide percentages by 100, or"),
        (np.full((2, 3), -0.5), r"mine returned -0.5 as a probability"),
        (None, "mine returned"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(
    answer: Any, sentence: str, small_task: Task
) -> None:
    model = broken(answer)
    images = model.images(small_task.train.images[:2])
    with pytest.raises(CraftZooError, match=sentence):
        model.classifier(NAMES).score("{}", images)


@pytest.mark.parametrize("zeros", [True, False])
def test_images_without_any_probability_are_warned_of_once(small_task: Task, zeros: bool) -> None:
    def ask(prompts: list[str], images: list[Image.Image]) -> np.ndarray:
        answers = np.zeros((len(images), len(prompts)))
        answers[:, 0] = 1
        if zeros:
            answers[0] = 0
        return answers

    model = from_callable(ask, name="mine", answers="probabilities", batch=2)
    images = model.images(small_task.train.images)
    box = model.classifier(small_task.classnames)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        [logits] = box.logits(["a photo of a {}."], images)
    assert (np.ptp(logits[0]) == 0) == zeros
    found = [str(one.message) for one in caught]
    assert len(found) == zeros
    assert all("mine returned probability 0 for every class" in one for one in found)


@pytest.mark.parametrize(
    ("scores", "kind"),
    [([0.7, 0.2, 0.1], "probabilities"), ([70, 20, 10.2], "percentages"), ([0, 1, 0.4], None)],
)
def test_probabilities_that_are_taken_for_logits_are_warned_of(
    scores: list[float], kind: str | None, small_task: Task
) -> None:
    model = from_callable(lambda prompts, images: [scores] * len(images), name="mine")
    images = model.images(small_task.train.images[:2])
    with warnings.catch_warnings(record=True, action="always") as warned:
        for _ in range(2):
            model.classifier(NAMES).score("{}", images)
    assert [str(each.message).split(", ")[1] for each in warned] == (
        [f"as {kind} do"] if kind else []
    )


def test_an_async_failure_is_said_too(small_task: Task) -> None:
    async def ask(prompts: list[str], images: list[Image.Image]) -> Any:
        raise ConnectionError("gone")

    model = from_callable(ask, name="mine")
    images = model.images(small_task.train.images)
    with pytest.raises(CraftZooError, match=r"mine failed \(ConnectionError: gone\)"):
        model.classifier(NAMES).score("{}", images)


def test_scores_that_float32_cannot_hold(small_task: Task) -> None:
    for score in (1e39, -1e39):
        model = from_callable(lambda p, i, s=score: np.full((len(i), len(p)), s), name="mine")
        with pytest.raises(CraftZooError, match="a score that float32 cannot hold"):
            model.classifier(NAMES).score("{}", model.images(small_task.train.images[:2]))


async def cancelled() -> None:
    raise asyncio.CancelledError


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(60)


async def exits() -> None:
    sys.exit("over")


async def exits_in_a_task() -> None:
    await asyncio.gather(asyncio.sleep(0), exits())


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (cancelled, r"mine failed \(CancelledError\): mend the callable"),
        (cancels_itself, r"mine failed \(CancelledError\): mend the callable"),
        (exits, r"mine failed \(SystemExit: over\): mend the callable"),
        (exits_in_a_task, r"mine failed \(SystemExit: over\): mend the callable"),
    ],
)
def test_a_coroutine_that_ends_itself_ends_no_other(
    end: Any, sentence: str, plain: bool, small_task: Task
) -> None:
    left = [True]

    async def ask(prompts: list[str], images: list[Image.Image]) -> Any:
        if left:
            left.pop()
            await end()
        return np.zeros((len(images), len(prompts)))

    model = from_callable((lambda *asked: ask(*asked)) if plain else ask, name="mine")
    images = model.images(small_task.train.images[:2])
    with pytest.raises(CraftZooError, match=sentence):
        model.classifier(NAMES).score("{}", images)
    assert model.classifier(NAMES).score("{}", images).shape == (2, 3)


def test_an_async_failure_waits_for_no_other_call(small_task: Task) -> None:
    ended = threading.Event()

    async def ask(prompts: list[str], images: list[Image.Image]) -> Any:
        if len(images) == 1:  # the last
            raise ConnectionError("gone")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.set()
            raise

    model = from_callable(ask, name="mine", batch=2)
    images = model.images(small_task.train.images[:3])
    with pytest.raises(CraftZooError, match=r"mine failed \(ConnectionError: gone\)"):
        model.classifier(NAMES).score("{}", images)
    assert ended.wait(20)


def test_what_is_asked_at_once_keeps_the_calls_busy(service: Service) -> None:
    for model, prompts, images in (
        (from_callable(service.words, batch=8, concurrency=3), 1, 8),
        (from_callable(service.later, batch=8, concurrency=3), 3, 24),
        (from_callable(service.later, batch=8, concurrency=3, in_flight=2), 2, 24),
        (from_callable(service.contexts, initial_context=np.zeros((4, 8))), 1, 32),
    ):
        assert (model.in_flight, model.images_in_flight) == (prompts, images)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_a_loop_of_its_own(small_task: Task) -> None:
    async def ask(prompts: list[str], images: list[Image.Image]) -> Any:
        return np.zeros((len(images), len(prompts)))

    model = from_callable(ask)
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:2])
    box.score("{}", images)
    child = os.fork()
    if not child:
        signal.alarm(10)
        try:
            os._exit(int(box.score("{}", images).max() > 0.5))
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    box.score("{}", images)


def test_bad_arguments(service: Service, small_task: Task) -> None:
    for arguments, sentence in (
        ({"answers": "scores"}, "answers='logits' or 'probabilities'"),
        ({"batch": 0}, "batch of callable must be a whole number, at least 1, not 0"),
        ({"batch": 8.0}, "batch of callable must be a whole number, at least 1, not 8.0"),
        ({"concurrency": 0}, "concurrency of callable must be"),
        ({"initial_context": np.zeros(4)}, r"shape \(n_ctx, dim\), not \(4,\)"),
    ):
        with pytest.raises(CraftZooError, match=sentence):
            from_callable(service.words, **arguments)
    model, other = from_callable(service.words), from_callable(service.words)
    with pytest.raises(CraftZooError, match="belong to another model"):
        model.classifier(NAMES).score("{}", other.images(small_task.train.images))
    with pytest.raises(CraftZooError, match="no images"):
        model.images([])
    with pytest.raises(CraftZooError, match="no class names"):
        model.classifier([])
    with pytest.raises(CraftZooError, match="takes words only"):
        model.classifier(NAMES).score(np.zeros((4, 8)), model.images(small_task.train.images))


def test_methods_that_ask_in_words_work(service: Service, small_task: Task) -> None:
    model = from_callable(service.probabilities, name="mine", answers="probabilities")
    tuned = tune(model, small_task, method="craft-hard", budget=5, config=CraftConfig(anchors=20))
    assert tuned.adapter.model == "mine"
    assert tuned.adapter.predict(model, small_task.test.images[:3]).shape == (3, 10)


def test_an_image_whose_scores_are_all_zero_was_not_refused() -> None:
    """What a detector returns where it finds nothing is an answer, which a refiner learns from."""

    def found(prompts: list[str], images: list[Image.Image]) -> np.ndarray:
        colours = np.array([np.asarray(image)[0, 0] for image in images], dtype=float) / 50
        return np.where(np.arange(3) < 2, colours, 0)

    pictures = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    pictures[:, 0, 0] = np.repeat(np.diag([250, 200, 0]), 8, axis=0)
    labels = np.repeat(range(3), 8)
    train, test = (LabelledImages(list(pictures[at::2]), labels[at::2]) for at in (0, 1))
    task = Task("found", ("cat", "dog", "nothing"), train, test)
    model = from_callable(found)
    adapter = tune(model, task, method="refine").adapter
    assert adapter.predict(model, test.images).argmax(axis=-1).tolist() == test.labels.tolist()


def test_the_first_images_of_a_set_are_kept_decoded(
    service: Service, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = small_task.train.images[:3]
    size = 3 * int(np.prod(np.asarray(open_image(images[0])).shape[:2]))
    model = from_callable(service.words)
    whole = model.images(images)
    monkeypatch.setattr(callables, "_KEPT_BYTES", 2 * size)
    part = model.images(images)
    assert [len(each._decoded) for each in (whole, part)] == [3, 2]  # type: ignore[attr-defined]
    box = model.classifier(NAMES)
    assert np.array_equal(box.score("{}", part), box.score("{}", whole))

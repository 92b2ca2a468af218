"""One model, used by several threads at once, and by forked processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from craft_zoo.blackbox.image_tokens import WithTokens
from craft_zoo.data import Task
from craft_zoo.openclip import OpenCLIP
from craft_zoo.openclip.text import ForwardTextEncoder

LENGTHS = [("red " * words) + "cat" for words in range(1, 9)]


@pytest.fixture(autouse=True)
def eager_threads() -> Iterator[None]:
    """Threads take turns so often that they meet within a pass of the model."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def check_together(works: Sequence[Callable[[], Any]], *, times: int = 4) -> None:
    """Check that each returns in eight threads what it returns alone, before and afterwards."""
    alone = [np.asarray(work()) for work in works]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda work: np.asarray(work()), list(works) * times))
    for place, found in enumerate([*together, *(np.asarray(work()) for work in works)]):
        np.testing.assert_allclose(found, alone[place % len(works)], atol=1e-4)


def test_texts_of_several_lengths(tiny_vlm: OpenCLIP) -> None:
    check_together([lambda text=text: tiny_vlm.text_features([text]) for text in LENGTHS], times=10)


def test_label_sets_contexts_and_texts(tiny_vlm: OpenCLIP, small_task: Task) -> None:
    images = tiny_vlm.images(small_task.test.images[:3])
    contexts = np.random.default_rng(0).standard_normal((2, 1, 256)).astype(np.float32)

    def opened(name: str) -> np.ndarray:
        return tiny_vlm.classifier([name, "dog"], "a").score(contexts[0], images)

    works: list[Callable[[], Any]] = []
    for name in LENGTHS:
        works += [lambda name=name: opened(name)]  # type: ignore[misc]
        works += [lambda name=name: tiny_vlm.text_features([name])]  # type: ignore[misc]
    check_together(works)


def test_templates_of_one_classifier(tiny_vlm: OpenCLIP, small_task: Task) -> None:
    box = tiny_vlm.classifier(["cat", "dog"])
    images = tiny_vlm.images(small_task.test.images[:3])
    check_together(
        [lambda text=text: box.score(f"{text} {{}}.", images) for text in LENGTHS], times=10
    )


def test_whatever_changes_the_model_for_its_pass(two_layers: OpenCLIP, small_task: Task) -> None:
    model, tokenizer = two_layers._model, two_layers._tokenizer
    random = np.random.default_rng(0).standard_normal
    contexts = torch.from_numpy(random((2, 1, 1, 256)).astype(np.float32))
    inner = torch.from_numpy(random((1, 1, 256)).astype(np.float32))
    encoder = ForwardTextEncoder(model, tokenizer, ["cat", "dog"], "a", memory=2**30)
    opened = two_layers.white_box(["cat", "dog"], "a")
    sources = small_task.test.images[:3]
    tokens = [random((2, 3, 32)).astype(np.float32) for _ in range(2)]
    images = two_layers.images(sources)
    box = two_layers.classifier(["cat", "dog"], "a")

    def with_tokens(own: np.ndarray) -> np.ndarray:
        altered = [WithTokens(each, own) for each in sources]
        return two_layers.features(two_layers.images(altered, keep=False))

    def read(context: torch.Tensor, *more: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return opened.logits(context, images, *more).numpy()

    check_together(
        [
            lambda: torch.stack(list(encoder(contexts[0]))),
            lambda: torch.stack(list(encoder(contexts[1]))),
            lambda: read(contexts[0, 0]),
            lambda: read(contexts[0, 0], inner),
            lambda: opened.spreads(contexts[0, 0]),
            lambda: two_layers.text_features(["a red cat"]),
            lambda: box.score(contexts[0, 0].numpy(), images),
            lambda: with_tokens(tokens[0]),
            lambda: with_tokens(tokens[1]),
            lambda: two_layers.features(two_layers.images(sources, keep=False)),
        ]
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_a_process_that_is_forked_from_one_that_computed(two_layers: OpenCLIP) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        numbers = torch.ones(400, 400)
        assert (numbers @ numbers).sum() == 400**3  # starts the threads that no fork inherits
        child = os.fork()
        if not child:
            signal.alarm(20)  # ends a child that waits for them
            two_layers.text_features(["a red cat"])
            os._exit(int((numbers @ numbers).sum() != 400**3))
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(before)

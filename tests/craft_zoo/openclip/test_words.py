"""Models that are queried with prompts in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo import tune
from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import (
    DEFAULT_INIT,
    ImageSet,
    Meter,
    Prompts,
    as_template,
)
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem
from craft_zoo.openclip import OpenCLIP

NAMES = ["cat", "dog", "blue whale"]
TEMPLATES = ["a photo of a {}.", "this {} is a kind of sea animal, isn't it?", "{}"]


class WordsOnly(OpenCLIP):
    """A model as a service that accepts only words."""

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> Any:
        box = super().classifier(classnames)
        box.template = as_template(init)
        box.accepts, ask = frozenset({"texts"}), box.logits
        box.initial_context = np.zeros((0, 0), np.float32)

        def logits(prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
            assert not isinstance(prompts, np.ndarray)
            return ask(prompts, images)

        box.logits = logits  # type: ignore[method-assign]
        return box


@pytest.fixture(scope="module")
def words_only(make_tiny: Callable[..., Any]) -> OpenCLIP:
    model: OpenCLIP = make_tiny(WordsOnly)
    return model


def test_words_are_scored_as_the_contexts_of_their_embeddings(
    vlm: OpenCLIP, small_task: Task
) -> None:
    images = vlm.images(small_task.train.images)
    for init in (DEFAULT_INIT, "one good photo of the {}, seen from above."):
        box = vlm.classifier(NAMES, init)
        in_words = box.score(box.template, images)
        np.testing.assert_allclose(box.score(box.initial_context, images), in_words, atol=2e-3)


@pytest.mark.parametrize("memory", [1, 1024])
def test_each_template_as_if_alone(memory: int, small_task: Task) -> None:
    vlm = OpenCLIP.load("craft-mini", memory=memory)
    images, box = vlm.images(small_task.train.images), vlm.classifier(NAMES)
    together = list(box.logits(TEMPLATES, images))
    assert len(together) == 3
    for template, logits in zip(TEMPLATES, together, strict=True):
        alone = [
            vlm.classifier([template.replace("{}", name)]).score("{}", images) for name in NAMES
        ]
        np.testing.assert_allclose(logits, np.concatenate(alone, axis=1), atol=2e-3)


def test_whole_texts_are_opened_in_parts_and_may_read_alike(
    vlm: OpenCLIP, small_task: Task
) -> None:
    texts = [f"a photo of a {name}." for name in NAMES] * 30 + ["A photo of a CAT."]
    opening, parts = vlm.opening_texts(texts), 1
    while True:
        try:
            next(opening)
            parts += 1
        except StopIteration as end:
            box = end.value
            break
    assert parts == 2
    assert box.held_bytes > 0
    images = vlm.images(small_task.train.images)
    logits = box.score("{}", images)
    expected = vlm.classifier(NAMES).score("a photo of a {}.", images)
    np.testing.assert_allclose(logits[:, :3], expected, atol=1e-4)
    np.testing.assert_allclose(logits[:, -1], logits[:, 0], atol=1e-4)
    features = vlm.text_features(texts[:3])
    for wrong in ([], texts[0]):  # of a single text, its letters would be encoded
        with pytest.raises(CraftZooError, match="texts"):
            vlm.text_features(wrong)
    np.testing.assert_allclose(25 * vlm.features(images) @ features.T, logits[:, :3], atol=1e-4)
    with pytest.raises(CraftZooError, match="no contexts"):
        box.score(vlm.classifier(NAMES).initial_context, images)


def test_a_prompt_that_is_too_long(vlm: OpenCLIP, small_task: Task) -> None:
    box, images = vlm.classifier(NAMES), vlm.images(small_task.train.images[:2])
    with pytest.raises(CraftZooError, match=r"very very .* is longer than the model's \d+ tokens"):
        box.score("very " * 100 + "{}", images)


def test_prompts_without_a_place_for_the_class_are_refused(vlm: OpenCLIP, small_task: Task) -> None:
    """All classes would have the same text, and equal logits."""
    box, images = vlm.classifier(NAMES), vlm.images(small_task.train.images[:2])
    for prompt in ("a photo of a", "{} and {}"):
        with pytest.raises(CraftZooError, match=r"must hold \{\} once"):
            box.score(prompt, images)
    whole = tuple(f"a photo of a {name}." for name in NAMES)  # each class has its own
    assert np.array_equal(box.score(whole, images), box.score("a photo of a {}.", images))


def test_what_a_model_does_not_accept_is_refused_unpaid(
    words_only: OpenCLIP, small_task: Task
) -> None:
    images, box = words_only.images(small_task.train.images), words_only.classifier(NAMES)
    meter = Meter(10)
    asked = meter.wrap(box, "search")
    with pytest.raises(CraftZooError, match="takes words only, no contexts: use a method"):
        asked.logits(np.zeros((1, 4, 256), np.float32), images)
    with pytest.raises(CraftZooError, match=r"the template 'a photo' must hold \{\} once"):
        asked.logits(["a photo"], images)
    box.accepts = frozenset({"contexts"})
    with pytest.raises(CraftZooError, match="takes contexts only, no words"):
        meter.wrap(box, "search").logits(["{}"], images)
    assert meter.queries == 0


@pytest.mark.parametrize(
    "method", ["zero-shot", "templates", "refine", "anchors", "hard", "craft-hard"]
)
def test_methods_that_ask_in_words_need_nothing_else(
    method: str, words_only: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    optimizer = "genetic:popsize=5"
    config = CraftConfig(anchors=20, template="a scribble of {}, a digit.", discriminant=False)
    tuned = tune(
        words_only, small_task, method=method, optimizer=optimizer, budget=25, config=config
    )
    solution = tuned.adapter.solution
    assert isinstance(solution.prompt, str)
    assert tuned.meter.queries <= 25
    tuned.adapter.save(tmp_path / "adapter")
    loaded = Adapter.load(tmp_path / "adapter")
    assert loaded.solution.prompt == solution.prompt
    images = small_task.test.images
    expected = tuned.adapter.predict(words_only, images)
    np.testing.assert_array_equal(loaded.predict(words_only, images), expected)


def test_methods_that_search_contexts_say_that_they_cannot(
    words_only: OpenCLIP, small_task: Task
) -> None:
    for method in ("craft", "prompt", "craft-released"):
        with pytest.raises(CraftZooError, match="tiny takes words only, no contexts: use a"):
            tune(words_only, small_task, method=method, budget=50)


def open_problem(vlm: OpenCLIP, task: Task, template: str, own: str | None = None) -> Problem:
    return Problem.open(
        vlm,
        task.classnames,
        task.train,
        budget=10,
        seed=1,
        config=CraftConfig(template=template),
        template=own,
    )


def test_where_a_method_starts(vlm: OpenCLIP, small_task: Task) -> None:
    """A context stands for the words before the class name, where there are some."""
    own = "a photo of a {}, a type of digit."
    for template in ("dataset", own):
        problem = open_problem(vlm, small_task, template, own)
        assert problem.box.template == problem.template == own
        assert isinstance(problem.initial_prompt, np.ndarray)
    problem = open_problem(vlm, small_task, "{} texture.")
    assert problem.initial_prompt == "{} texture."
    assert problem.box.template == "a photo of a {}."
    assert open_problem(vlm, small_task, "dataset").template == "a photo of a {}."


def test_each_class_under_a_template_of_its_own(
    vlm: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    """Column for column as if it were asked alone; a found solution is saved with them."""
    images, box = vlm.images(small_task.train.images), vlm.classifier(NAMES)
    own = tuple(TEMPLATES)
    together = box.score(own, images)
    for column, (template, name) in enumerate(zip(own, NAMES, strict=True)):
        alone = vlm.classifier([name]).score(template, images)[:, 0]
        np.testing.assert_allclose(together[:, column], alone, atol=2e-3)
    with pytest.raises(CraftZooError, match="2 templates came for 3 classes"):
        Meter(10).wrap(box, "search").logits([own[:2]], images)
    tuned = tune(vlm, small_task, method="hard", budget=40)
    prompt = tuned.adapter.solution.prompt
    assert isinstance(prompt, tuple)
    assert len(set(prompt)) > 1
    tuned.adapter.save(tmp_path / "adapter")
    loaded = Adapter.load(tmp_path / "adapter")
    assert loaded.solution.prompt == prompt
    expected = tuned.adapter.predict(vlm, small_task.test.images)
    np.testing.assert_array_equal(loaded.predict(vlm, small_task.test.images), expected)

"""BPT-VLM: its projections, image tokens and generations computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from craft_zoo.blackbox import as_template
from craft_zoo.blackbox.image_tokens import Embeddings, WithTokens
from craft_zoo.data import LabelledImages, Task
from craft_zoo.data.images import content_key
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, bpt_vlm, get_method, read_settings
from craft_zoo.methods.bpt_vlm import TokenPrompts, TokenSpace, first_maps
from craft_zoo.openclip import OpenCLIP


def test_both_halves_of_a_candidate_by_hand() -> None:
    space = TokenSpace(3, (2, 2), (0.01, (0.5, 0.1)), dim=2, seed=1)
    assert space.dim == 4
    space._texts._basis = np.arange(48, dtype=np.float32).reshape(24, 2)
    space._images = np.array([[1, 0], [0, 1], [1, 1], [2, -1]], np.float32)
    candidate = np.array([10, 1, 5, 3])
    # token k, entry e: 10 (6 k + 2 e) + 6 k + 2 e + 1
    context = space.contexts(candidate[None])[0]
    assert context.shape == (8, 3)
    assert context[:2].tolist() == [[1, 23, 45], [67, 89, 111]]
    assert space.tokens(candidate).tolist() == [[5, 3], [8, 7]]
    assert not space.contexts(np.zeros((1, 4))).any()
    alone = TokenSpace(3, (0, 0), (0.01, (0, 0)), dim=2, seed=1)
    assert alone.dim == 2
    assert alone.tokens(np.ones(2)).shape == (0, 0)


def test_projections_have_the_released_spread() -> None:
    maps = first_maps(Embeddings(0.01, 768, (0.001, 0.02)), 500)
    space = TokenSpace(512, (5, 768), maps, dim=500, seed=1)
    assert space.dim == 1000
    assert space._texts._basis.std() == pytest.approx(0.01 / 500**0.5, rel=0.01)
    assert space._images.mean() == pytest.approx(0.001 * 3072 / 500, rel=0.03)
    assert space._images.std() == pytest.approx(0.02 * (3072 / 500) ** 0.5, rel=0.01)


def test_image_tokens_stand_behind_the_patches(
    tiny_vlm: OpenCLIP, small_task: Task, embedded: Callable[..., torch.Tensor]
) -> None:
    sources = small_task.train.images[:3]
    tokens = np.random.default_rng(0).standard_normal((5, 32)).astype(np.float32)
    images = tiny_vlm.images([WithTokens(each, tokens) for each in sources], keep=False)
    visual = tiny_vlm._model.visual
    with torch.no_grad():
        read = embedded(tiny_vlm, sources, tokens)
        read = visual.ln_post(visual.transformer(visual.ln_pre(read)))[:, 0] @ visual.proj
    np.testing.assert_allclose(tiny_vlm.features(images), F.normalize(read, dim=-1), atol=1e-5)
    plain = tiny_vlm.features(tiny_vlm.images(sources, keep=False))
    assert not np.allclose(plain, tiny_vlm.features(images), atol=1e-4)
    np.testing.assert_array_equal(plain, tiny_vlm.features(tiny_vlm.images(sources)))
    other = WithTokens(sources[0], tokens + 1)
    assert content_key(other) != content_key(images.sources[0])  # type: ignore[arg-type]
    with pytest.raises(CraftZooError, match="different tokens"):
        tiny_vlm.images([sources[0], other])
    with pytest.raises(CraftZooError, match="image tokens of 32 numbers, not 7"):
        tiny_vlm.images([WithTokens(sources[0], np.zeros((5, 7), np.float32))])


def test_what_models_tell_of_their_embeddings(tiny_vlm: OpenCLIP, vlm: OpenCLIP) -> None:
    words, width, patches = tiny_vlm.embeddings()
    table = tiny_vlm._model.token_embedding.weight.numpy()
    assert words == pytest.approx(table.std(), rel=1e-4)
    assert width == 32
    weights = tiny_vlm._model.visual.conv1.weight.numpy()
    assert patches == pytest.approx((weights.mean(), weights.std()), rel=1e-3)
    assert vlm.embeddings().width == 0  # craft-mini's image tower is a convolutional network


def test_two_generations_by_hand(
    by_hand: Callable[..., Any], written: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = [np.zeros((8, 8, 3), np.uint8)] * 2
    problem = Problem.open(
        by_hand(8, 1),
        ["a", "b"],
        LabelledImages(pixels, np.array([0, 1])),
        budget=4,
        seed=1,
        config=read_settings({"bpt-vlm.dim": 4}),
        method="bpt-vlm",
    )
    optimizer = written(4, [[1.0, 2.0], [-1.0, 0.5]])
    monkeypatch.setattr(bpt_vlm, "create_optimizer", lambda *_, **__: optimizer)
    unit = np.zeros((8, 4), np.float32)
    unit[0, 0] = 3
    made = bpt_vlm.Subspace

    def subspace(*given: Any, **more: Any) -> Any:
        space = made(*given, **more)
        space._basis = unit
        return space

    monkeypatch.setattr(bpt_vlm, "Subspace", subspace)
    start, first, second = get_method("bpt-vlm")(problem)
    assert problem.template == as_template("X X X X X X X X")
    assert not np.any(start.solution.prompt)
    # The logits are 3, 6, -3 and 1.5 times the unit matrix: log(1 + exp(-x)) for each image.
    expected = [[0.0485874, 0.0024757], [3.0485874, 0.2014133]]
    np.testing.assert_allclose(optimizer.told, expected, rtol=1e-4)
    # What is deployed is the second candidate, of all the best.
    for step, queries in ((first, 2), (second, 4)):
        assert step.queries == queries
        assert step.solution.prompt.ravel().tolist() == [6, *[0] * 7]  # type: ignore[union-attr]
    assert second.loss == pytest.approx(0.2014133, rel=1e-4)
    assert problem.meter.predictions == {"search": 8}


def open_problem(vlm: OpenCLIP, task: Task, budget: int, **settings: object) -> Problem:
    config = read_settings({f"bpt-vlm.{name}": value for name, value in settings.items()})
    return Problem.open(
        vlm, task.classnames, task.train, budget=budget, seed=1, config=config, method="bpt-vlm"
    )


def few(task: Task) -> Task:
    return replace(task, train=task.train.take(np.arange(0, 20, 4)))


@pytest.mark.parametrize("name", ["cma", "sep-cma", "mmes", "lm-ma-es"])
def test_both_sides_are_searched(name: str, tiny_vlm: OpenCLIP, small_task: Task) -> None:
    task = few(small_task)
    problem = open_problem(tiny_vlm, task, 62, dim=20, optimizer=name)
    *_, end = get_method("bpt-vlm")(problem)
    assert end.queries == problem.meter.queries == 62
    assert problem.meter.predictions == {"search": 62 * 5}
    solution = end.solution
    assert isinstance(solution, TokenPrompts)
    assert np.shape(solution.prompt) == (8, 256)
    assert solution.tokens.shape == (5, 32)
    assert solution.tokens.any()
    plain = problem.box.score(solution.prompt, problem.images)
    assert not np.allclose(solution.logits(problem.box, problem.images), plain)
    with pytest.raises(CraftZooError, match="at least 0 and 4, not 5 and 3"):
        next(get_method("bpt-vlm")(open_problem(tiny_vlm, task, 62, dim=3)))


def test_texts_alone_where_a_model_takes_no_image_tokens(vlm: OpenCLIP, small_task: Task) -> None:
    problem = open_problem(vlm, few(small_task), 40, dim=20)
    *_, end = get_method("bpt-vlm")(problem)
    assert end.solution.tokens.size == 0
    plain = problem.box.score(end.solution.prompt, problem.images)
    np.testing.assert_array_equal(end.solution.logits(problem.box, problem.images), plain)

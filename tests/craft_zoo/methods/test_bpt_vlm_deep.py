"""BPT-VLM's deep variant: tokens in the layers of both towers, and generations by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from craft_zoo.blackbox import Meter
from craft_zoo.blackbox.base import ImageSet
from craft_zoo.blackbox.image_tokens import Embeddings, WithTokens
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, bpt_vlm_deep, get_method, read_settings
from craft_zoo.methods.bpt_vlm import TokenSpace
from craft_zoo.methods.bpt_vlm_deep import LayerTokens
from craft_zoo.openclip import OpenCLIP
from craft_zoo.openclip.layers import spread

INIT = "X X X X X X X X"


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_each_layer_of_the_text_tower_reads_its_own_tokens(
    two_layers: OpenCLIP, small_task: Task
) -> None:
    model, names = two_layers._model, small_task.classnames
    opened = two_layers.white_box(names, INIT)
    blocks = model.transformer.resblocks
    assert opened.layers == len(blocks) == 2
    tokens = torch.from_numpy(random(2, 8, 256))
    images = two_layers.images(small_task.train.images[:3])
    ids = two_layers._tokenizer([f"{INIT} {name}." for name in names])
    with torch.no_grad():
        states = model.token_embedding(ids)
        states[:, 1:9] = tokens[0]
        states = blocks[0](states + model.positional_embedding, attn_mask=model.attn_mask)
        states[:, 1:9] = tokens[1]
        states = model.ln_final(blocks[1](states, attn_mask=model.attn_mask))
        texts = F.normalize(states[range(10), ids.argmax(dim=1)] @ model.text_projection, dim=-1)
        scale = float(model.logit_scale.exp())
        expected = scale * two_layers.features(images) @ texts.T.numpy()
        logits = opened.logits(tokens[0], images, tokens[1:])
        plain = opened.logits(tokens[0], images)
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    assert not np.allclose(plain, expected, atol=0.1)
    np.testing.assert_array_equal(opened.logits(tokens[0], images), plain)  # no hook stays


def test_each_layer_of_the_image_tower_reads_its_own_tokens(
    two_layers: OpenCLIP, small_task: Task, embedded: Callable[..., torch.Tensor]
) -> None:
    sources, tokens = small_task.train.images[:3], random(2, 5, 32)
    images = two_layers.images([WithTokens(each, tokens) for each in sources], keep=False)
    visual = two_layers._model.visual
    with torch.no_grad():
        states = embedded(two_layers, sources, tokens[0])
        states = visual.transformer.resblocks[0](visual.ln_pre(states))
        states[:, -5:] = torch.from_numpy(tokens[1])
        states = visual.ln_post(visual.transformer.resblocks[1](states))[:, 0] @ visual.proj
    np.testing.assert_allclose(two_layers.features(images), F.normalize(states, dim=-1), atol=1e-5)


def test_spreads_are_those_of_the_layers_outputs(two_layers: OpenCLIP, small_task: Task) -> None:
    # 99 ones and a 101: mean 2, deviation 9.95, so 101 becomes 31.85; and so on, five times.
    values = np.ones(100)
    values[0] = 101
    expected = values.copy()
    for _ in range(5):
        deviation = expected.std()
        low, high = expected.mean() - 3 * deviation, expected.mean() + 3 * deviation
        expected = np.clip(expected, low, high)
    assert spread(torch.from_numpy(values)) == pytest.approx(expected.std(), rel=1e-5)
    opened, context = two_layers.white_box(["cat", "dog"], INIT), torch.from_numpy(random(8, 256))
    blocks, seen = two_layers._model.transformer.resblocks, list[float]()
    hook = blocks[1].register_forward_hook(lambda _, __, out: seen.append(spread(out)))
    found = opened.spreads(context)
    hook.remove()
    assert len(found) == 2
    assert found[1] == seen[0] != found[0]
    tokens = random(5, 32)
    images = [WithTokens(each, tokens) for each in small_task.train.images[:3]]
    spreads = two_layers.image_spreads(images)
    assert len(spreads) == 2
    assert spreads == two_layers.image_spreads(images)
    assert spreads != two_layers.image_spreads(small_task.train.images[:3])


class Layers:
    """A model on two classes whose logits are the sum of its layers' first numbers, times I."""

    name, layers = "layers", 2

    def __init__(self) -> None:
        self.asked: list[int] = []  # layers with tokens

    def white_box(self, classnames: object, init: str) -> Layers:
        return self

    def embeddings(self) -> Embeddings:
        return Embeddings(0.5, width=0, patches=(0.0, 0.0))

    def spreads(self, context: torch.Tensor) -> list[float]:
        self.context = context.numpy()
        return [7.0, 3.0]

    def logits(self, first: torch.Tensor, images: object, inner: torch.Tensor) -> torch.Tensor:
        self.asked.append(1 + len(inner))
        return (first[0, 0] + sum(10 * tokens[0, 0] for tokens in inner)) * torch.eye(2)


class Space:
    """A token space whose candidate is the first token's first number."""

    made: list[Any] = []  # noqa: RUF012, filled by one test

    def __init__(self, width: int, image: object, maps: Any, *, dim: int, seed: int) -> None:
        self.width, self.dim = width, dim
        self.made.append(maps)

    def contexts(self, candidates: np.ndarray) -> np.ndarray:
        context = np.zeros((1, 8, self.width), np.float32)
        context[0, 0, 0] = candidates[0, 0]
        return context

    def tokens(self, candidate: np.ndarray) -> np.ndarray:
        return np.zeros((0, 0), np.float32)


def test_two_generations_of_two_layers_by_hand(
    written: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = Layers()
    box = SimpleNamespace(
        classnames=("a", "b"), template="{}", initial_context=np.zeros((8, 1)), accepts={"contexts"}
    )
    problem: Any = Problem(
        vlm=vlm,  # type: ignore[arg-type]
        box=box,  # type: ignore[arg-type]
        images=ImageSet([np.zeros((8, 8, 3), np.uint8)] * 2, vlm),  # type: ignore[arg-type]
        labels=np.array([0, 1]),
        meter=Meter(120, 2),
        budget=120,
        seed=1,
        config=read_settings({"bpt-vlm-deep.dim": 4}),
    )
    searches = [written(4, [[1.0, 2.0], [3.0, 1.0]]), written(4, [[-0.1, 0.05], [0.02, -0.2]])]
    made = iter(searches)
    monkeypatch.setattr(bpt_vlm_deep, "create_optimizer", lambda *_, **__: next(made))
    monkeypatch.setattr(bpt_vlm_deep, "local_model", lambda _: vlm)
    monkeypatch.setattr(bpt_vlm_deep, "TokenSpace", Space)
    monkeypatch.setattr(Space, "made", [])
    start, *_, step = get_method("bpt-vlm-deep")(problem)
    assert not start.solution.texts.any()  # type: ignore[attr-defined]
    # Sums of the layers: 1, 2 (the second layer has zeros), then 2 - 1, 2 + 0.5, then 3 + 0.5,
    # 1 + 0.5, then 3 + 0.2, 3 - 2. The loss is log(1 + exp(-sum)) of both images.
    first = [[0.3132617, 0.1269280], [0.0297504, 0.2014133]]
    second = [[0.3132617, 0.0788897], [0.0399533, 0.3132617]]
    np.testing.assert_allclose(searches[0].told, first, rtol=1e-5)
    np.testing.assert_allclose(searches[1].told, second, rtol=1e-5)
    solution = step.solution
    assert isinstance(solution, LayerTokens)
    assert solution.texts[:, 0, 0].tolist() == pytest.approx([3, 0.05])
    assert step.loss == pytest.approx(0.0297504, rel=1e-5)
    # The first candidate is read without tokens in the second layer. Further entries are those of
    # the solutions that steps report.
    assert vlm.asked[0] == 1
    assert {*vlm.asked[1:]} == {2}
    assert step.queries == 8
    assert vlm.context[0, 0] == 1  # the first candidate's tokens scale the later layers' maps
    assert Space.made[0][0] == pytest.approx(0.5 / 2)
    assert Space.made[1] == (pytest.approx(3 / 2), (0.0, 0.0))


def open_problem(vlm: OpenCLIP, task: Task, budget: int, **settings: object) -> Problem:
    config = read_settings({f"bpt-vlm-deep.{name}": value for name, value in settings.items()})
    return Problem.open(
        vlm,
        task.classnames,
        replace(task, train=task.train.take(np.arange(0, 20, 4))).train,
        budget=budget,
        seed=1,
        config=config,
        method="bpt-vlm-deep",
    )


def test_both_towers_are_searched(two_layers: OpenCLIP, small_task: Task) -> None:
    problem = open_problem(two_layers, small_task, 130, dim=20)
    *_, step = get_method("bpt-vlm-deep")(problem)
    solution = step.solution
    assert isinstance(solution, LayerTokens)
    assert solution.texts.shape == (2, 8, 256)
    assert solution.images.shape == (2, 5, 32)
    assert step.queries == problem.meter.queries == 120  # whole turns of both layers
    assert problem.meter.predictions == {"search": 120 * 5}
    assert step.loss is not None
    start = replace(solution, texts=0 * solution.texts, images=0 * solution.images)
    logits = torch.from_numpy(start.logits(problem.box, problem.images))
    assert step.loss < float(F.cross_entropy(logits, torch.from_numpy(problem.labels)))
    *_, again = get_method("bpt-vlm-deep")(open_problem(two_layers, small_task, 130, dim=20))
    np.testing.assert_array_equal(solution.texts, again.solution.texts)  # type: ignore[attr-defined]


def test_texts_alone_where_a_model_takes_no_image_tokens(vlm: OpenCLIP, small_task: Task) -> None:
    problem = open_problem(vlm, small_task, 60, dim=4, layers=2)
    *_, step = get_method("bpt-vlm-deep")(problem)
    assert isinstance(step.solution, LayerTokens)
    assert step.solution.texts.shape[0] == 2
    assert step.solution.images.size == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 3}, "layers must be from 1 to 2 with .*, not 3"),
        ({"layers": 0}, "layers must be from 1 to 2 with .*, not 0"),
        ({"dim": 3}, "at least 0 and 4, not 5 and 3"),
        ({}, "each of the 2 layers takes 60 queries, more than the budget of 59"),
    ],
)
def test_settings_are_checked(
    settings: dict[str, object], message: str, two_layers: OpenCLIP, small_task: Task
) -> None:
    with pytest.raises(CraftZooError, match=message):
        next(get_method("bpt-vlm-deep")(open_problem(two_layers, small_task, 59, **settings)))


def test_the_maps_of_a_layer_have_the_spread_of_its_states() -> None:
    space = TokenSpace(512, (5, 768), (0.3 / 500**0.5, (0.0, 2 / 500**0.5)), dim=500, seed=1)
    z = np.random.default_rng(1).standard_normal(1000)
    assert space.contexts(z[None]).std() == pytest.approx(0.3, rel=0.1)
    assert space.tokens(z).std() == pytest.approx(2, rel=0.1)

"""CraFT as released: a generation computed by hand, and each of its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cma
import numpy as np
import pytest
import torch
from cma.sigma_adaptation import CMAAdaptSigmaCSA
from torch.nn import functional as F

from craft_zoo import optimizers
from craft_zoo.blackbox import VLM, ImageSet, Journal, ReplayVLM
from craft_zoo.blackbox.wrappers import WrappedVLM
from craft_zoo.craft import CraftConfig
from craft_zoo.data import LabelledImages, Task
from craft_zoo.data.augment import View
from craft_zoo.data.images import open_image
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, get_method, most_predictions, read_settings
from craft_zoo.methods import released as released_module
from craft_zoo.methods.released import TABLE, ReleasedSettings
from craft_zoo.openclip import OpenCLIP
from craft_zoo.refiner import network
from craft_zoo.refiner.network import Refiner
from craft_zoo.seeding import generator

LENGTHS = np.array([2, 4], np.float32)  # of the two images' features


@pytest.mark.parametrize(
    ("features", "second", "bias"),
    # where the gap between the classes is to grow (+) or to shrink (-), for the second image
    [("raw", -1, (1, -1)), ("normalised", 1, None)],  # where both agree, the biases cancel
)
def test_a_generation_computed_by_hand(
    features: str,
    second: int,
    bias: tuple[int, int] | None,
    by_hand: Callable[..., Any],
    script: Callable[[float], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = ReleasedSettings(
        popsize=2, intrinsic_dim=1, hidden=2, std=1, consistency=0.1, share=1
    )
    monkeypatch.setitem(TABLE, "by hand", settings)
    search = script(float(generator(5, "subspace").standard_normal()))
    monkeypatch.setattr(optimizers, "create", lambda *_, **__: search)

    class Known(Refiner):  # adds half of each positive logit
        def __init__(self, *_: Any, **__: Any) -> None:
            super().__init__(2, 2)
            with torch.no_grad():
                for parameter, values in zip(
                    self.net.parameters(),
                    (torch.eye(2), torch.zeros(2), torch.eye(2) / 2, torch.zeros(2)),
                    strict=True,
                ):
                    parameter.copy_(values)

    monkeypatch.setattr(network, "Refiner", Known)
    vlm = by_hand(1, 1, lengths=LENGTHS)
    pixels = np.zeros((2, 12, 10, 3), np.uint8)
    shots = LabelledImages(list(pixels), np.array([0, 1]))
    config = read_settings({"craft-released.features": features})
    problem = Problem.open(vlm, ("a", "b"), shots, budget=2, seed=5, config=config, name="by hand")
    *_, step = get_method("craft-released")(problem)
    # Of the logits 1 and 0: cross-entropy ln(1 + 1/e) = 0.313262; the refined ones are 1.5 and 0,
    # and the divergence from them is 0.020636, with a weight of 0.1.
    # Of 2 and 0: 0.126928 and 0.030915.
    np.testing.assert_allclose(search.told, [0.315325, 0.130019], atol=2e-6)
    # The refiner sees 2 x 2 and 4 x 2 instead of 2, where the lengths of 2 and 4 count. One step of
    # Adam moves each weight by 0.001 against its gradient: the first image's refined gap of 6 is
    # below what cross-entropy and a tenth of the divergence want, the second's of 12 above.
    assert isinstance(step.solution.refiner, Refiner)
    found = [parameter.detach().numpy() for parameter in step.solution.refiner.net.parameters()]
    grow, other = 0.001, 0.001 * second
    expected = [
        [[1 + grow, 0], [0, 1 + other]],
        [grow, other],
        [[0.5 + grow, -other], [-grow, 0.5 + other]],
    ]
    expected += [np.multiply(bias, 0.001).tolist()] if bias else []
    for values, written in zip(found, expected, strict=bias is not None):
        np.testing.assert_allclose(values, written, atol=1e-5)
    np.testing.assert_allclose(step.solution.prompt, [[2.0]])
    # Candidates were scored on one view, the refiner trained on another; both are 8 x 8 pixels.
    (_, scored), (_, learnt) = vlm.box.asked
    for sources in (scored, learnt):
        assert all(isinstance(view, View) and view.open().size == (8, 8) for view in sources)
    assert [view.content_key() for view in scored] != [view.content_key() for view in learnt]
    assert problem.meter.predictions == {"search": 4, "refiner": 2}


def test_the_context_is_the_mean_of_fresh_samples() -> None:
    """That of pycma's next generation, which the authors' code asks for and does not score."""
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape if shape else None)

    options = {"popsize": 40, "seed": np.nan, "randn": normal, "verbose": -9}
    options |= {"bounds": [-0.5, 0.5], "AdaptSigma": CMAAdaptSigmaCSA}
    bare = cma.CMAEvolutionStrategy(np.zeros(400), 1.0, options)
    spec = TABLE["eurosat"].optimizer("csa", "samples").replace("0.02", "1").replace("5.0", "0.5")
    assert spec == "cma:popsize=40,sigma=1,bound=0.5,step=csa,recommends=samples"
    ours = optimizers.create(spec, 400, budget=80, seed=3)
    assert not ours.recommend().any()
    candidates = ours.ask()
    losses = ((candidates - 0.2) ** 2).sum(axis=1)
    bare.tell(bare.ask(), losses)
    ours.tell(candidates, losses)
    np.testing.assert_allclose(ours.recommend(), np.mean(bare.ask(), axis=0), atol=1e-12)
    assert np.array_equal(ours.recommend(), ours.recommend())


def test_on_imagenet_the_context_is_the_best_candidate() -> None:
    settings = TABLE["imagenet"]
    ours = optimizers.create(settings.optimizer("csa", settings.deploys), 6, budget=120, seed=1)
    seen: list[tuple[float, np.ndarray]] = []
    while not ours.stop:
        candidates = ours.ask()
        losses = ((candidates - 1) ** 2).sum(axis=1) + 5 * bool(seen)  # the later are worse
        seen += zip(losses.tolist(), candidates, strict=True)
        ours.tell(candidates, losses)
    assert np.array_equal(ours.recommend(), min(seen, key=lambda each: each[0])[1])


def problem_of(vlm: VLM, task: Task, config: CraftConfig, budget: int = 80) -> Problem:
    return Problem.open(
        vlm, task.classnames, task.train, budget=budget, seed=1, config=config, name="eurosat"
    )


def test_views_are_counted_and_announced(tiny_vlm: OpenCLIP, small_task: Task) -> None:
    for given, views in (({}, 2), ({"craft-released.learns": "queries"}, 0)):
        config = read_settings(given)
        problem = problem_of(tiny_vlm, small_task, config)
        list(get_method("craft-released")(problem))
        predictions = problem.meter.predictions
        assert predictions["refiner"] == views * 20
        asked = most_predictions("craft-released", config, 80, 20, 10)
        assert asked == sum(predictions.values())


def test_imagenets_projection_is_that_of_the_code() -> None:
    uniform = released_module.Subspace(
        np.zeros((4, 50), np.float32), 512, std=1 / np.sqrt(3 * 512), seed=1, entries="uniform"
    )
    matrix = np.abs(uniform.prompts(np.eye(512)))
    assert 0.0441 < matrix.max() <= 1 / np.sqrt(512)  # torch.nn.Linear's own initial weights
    assert matrix.mean() == pytest.approx(0.0221, rel=0.01)


def test_lengths_make_logits_those_of_raw_features(
    tiny_vlm: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    box = tiny_vlm.classifier(small_task.classnames)
    for keep in (True, False):
        images = tiny_vlm.images(small_task.train.images, keep=keep)
        found = box.score(box.initial_context, images)
        found = found * tiny_vlm.feature_lengths(images)[:, None]
        pixels = torch.stack(
            [tiny_vlm._preprocess(open_image(image)) for image in small_task.train.images]
        )
        with torch.inference_mode():
            raw = tiny_vlm._model.encode_image(pixels)
            texts = next(box._encoder(torch.from_numpy(box.initial_context)[None]))
            expected = tiny_vlm._model.logit_scale.exp() * raw @ F.normalize(texts, dim=-1).T
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-3)

    class Silent(WrappedVLM):
        """A model that returns nothing."""

        def images(self, *_: Any, **__: Any) -> ImageSet:
            raise AssertionError

    lengths = []
    for model in (tiny_vlm, Silent(tiny_vlm)):
        with Journal(tmp_path / "journal") as journal:
            replaying = ReplayVLM(model, journal)
            views = replaying.images(small_task.train.images)
            lengths.append(replaying.feature_lengths(views))
    assert np.array_equal(*lengths)
    assert np.array_equal(lengths[0], tiny_vlm.feature_lengths(images))


def test_a_model_elsewhere_does_not_tell_lengths(tiny_vlm: OpenCLIP, small_task: Task) -> None:
    class Elsewhere(WrappedVLM):
        pass

    problem = problem_of(Elsewhere(tiny_vlm), small_task, CraftConfig())
    with pytest.raises(CraftZooError, match=r"set craft-released\.features=normalised$"):
        next(get_method("craft-released")(problem))
    assert problem.meter.queries == 0
    config = read_settings({"craft-released.features": "normalised"})
    *_, end = get_method("craft-released")(problem_of(Elsewhere(tiny_vlm), small_task, config))
    assert end.queries == 80

"""BlackVIP: each of its parts computed by hand, and what its queries cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, get_method, read_settings
from craft_zoo.methods.blackvip import TABLE, Gains, PromptedImages
from craft_zoo.openclip import OpenCLIP
from craft_zoo.optimizers.blackvip_spsa import BlackvipSPSA
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.prompts.blackvip import Decoder, class_tokens, prompted


def test_two_steps_by_hand(deltas: Callable[..., Any]) -> None:
    search = BlackvipSPSA(2, pairs=1, momentum=0.5, gamma=0.2, budget=4, seed=1)
    search.rng = deltas([[0.5, -1]], [[1, 0.5]])
    candidates = search.ask()  # at a distance of 0.01
    np.testing.assert_allclose(candidates, [[0.005, -0.01], [-0.005, 0.01]])
    # A slope of 0.2 / 0.02 gives the gradient (20, -10), which is the momentum too. The gain
    # 0.01 / 2^0.4 = 0.00757858 multiplies (20, -10) + 0.5 (20, -10) = (30, -15), not clipped.
    search.tell(candidates, [1.2, 1.0])
    np.testing.assert_allclose(search.recommend(), [-0.2273574, 0.1136787], rtol=1e-5)
    # The distance is 0.01 / 2^0.2 = 0.00870551. A slope of 0.1 gives (0.1, 0.2); the momentum is
    # 0.5 (20, -10) + (0.1, 0.2) = (10.1, -4.8), the gain 0.01 / 3^0.4 = 0.00644394, and it
    # multiplies (0.1, 0.2) + 0.5 (10.1, -4.8) = (5.15, -2.2).
    candidates = search.ask()
    np.testing.assert_allclose(
        candidates[0], [-0.2273574 + 0.00870551, 0.1136787 + 0.00435275], rtol=1e-5
    )
    search.tell(candidates, [1.001741101, 1.0])
    np.testing.assert_allclose(search.recommend(), [-0.2605437, 0.1278554], rtol=1e-5)
    assert search.stop
    with pytest.raises(OptimizerError, match=r"must be in \[0, 1\)"):
        BlackvipSPSA(2, momentum=1, budget=4, seed=1)


def test_a_decoder_by_hand() -> None:
    decoder = Decoder(768, torch.Generator().manual_seed(1))
    assert len(decoder.vector) == 9920
    assert len(decoder.trigger) == 800
    assert 0 <= decoder.trigger.min() < 0.001
    assert 0.099 < decoder.trigger.max() <= 0.1
    first = decoder.body[0].weight
    assert 0.34 < first.abs().max() <= 8**-0.5  # a number in, 2 channels of 2 x 2 out
    for name, parameter in decoder.named_parameters():
        mixes = parameter.ndim == 4 and (parameter.shape[-1] == 1 or parameter.shape[1] == 3)
        parameter.fill_(0 if name.endswith("bias") else 1 / len(parameter) if mixes else 1)
    # Each layer is the identity of a constant image but for GELU, four times:
    # 1 → 0.84134 → 0.67304 → 0.50446 → 0.34960
    drawn = decoder.eval()(torch.ones(2, 768))
    assert drawn.shape == (2, 3, 224, 224)
    np.testing.assert_allclose(drawn, 0.3496, atol=2e-4)
    # In training, the batch's mean of 1 is subtracted, and a tenth of it becomes the running mean.
    assert not decoder.train()(torch.ones(2, 768)).any()
    np.testing.assert_allclose(decoder.body[2].running_mean, 0.1, rtol=1e-5)


def test_the_decoder_takes_codes_of_other_lengths() -> None:
    rng = torch.Generator()
    assert len(Decoder(0, rng).trigger) == 1568
    assert len(Decoder(2048, rng).trigger) == 3136 - 2048
    with pytest.raises(CraftZooError, match="gives 3,136 numbers an image"):
        Decoder(3136, rng)


def test_a_parameter_vector_is_set_and_read() -> None:
    decoder = Decoder(20, torch.Generator())
    vector = np.linspace(-1, 1, len(decoder.vector))
    decoder.vector = vector
    np.testing.assert_allclose(decoder.vector, vector, rtol=1e-6)


def test_prompted_pixels_by_hand() -> None:
    pixels = torch.full((1, 3, 1, 3), 51, dtype=torch.uint8)
    prompts = torch.tensor([1.0, -1, 9]).expand(1, 3, 1, 3)
    # 0.2 ± 0.5 · (0.26863, 0.26130, 0.27578), times 255; 9 is clipped to white
    expected = [[85, 84, 86], [17, 18, 16], [255, 255, 255]]
    [shown] = prompted(pixels, prompts, 0.5)
    np.testing.assert_array_equal(np.asarray(shown.open()), [expected])
    assert shown.colours[0, 0, 0] == pytest.approx(0.2 + 0.5 * 0.26862954)


def test_the_class_token_is_taken_before_the_last_normalisation() -> None:
    model = timm.create_model("test_vit", pretrained=False, num_classes=0, img_size=224).eval()
    seen: list[torch.Tensor] = []
    model.blocks[-1].register_forward_hook(lambda _module, _given, out: seen.append(out[:, 0]))
    pixels = torch.zeros(2, 3, 224, 224, dtype=torch.uint8)
    pixels[1] = 255
    found = class_tokens(model, pixels)
    black = torch.tensor([-1.79226253, -1.75209713, -1.48021977])  # as BlackVIP's code clips
    white = torch.tensor([1.93033625, 2.07488384, 2.14589699])
    both = torch.stack([black, white])[:, :, None, None].expand(2, 3, 224, 224)
    with torch.no_grad():
        model(both)
    np.testing.assert_allclose(found, seen[-1], rtol=1e-4, atol=1e-5)


def open_problem(
    vlm: OpenCLIP, task: Task, method: str, budget: int, **settings: object
) -> Problem:
    config = read_settings({f"{method}.{name}": value for name, value in settings.items()})
    return Problem.open(
        vlm, task.classnames, task.train, budget=budget, seed=1, config=config, method=method
    )


@pytest.fixture
def tower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a vision transformer whose weights are in a file."""
    file = tmp_path / "vit.pth"
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), file)
    return f"timm:test_vit@{file}"


def test_a_query_is_one_decoder_on_one_batch(
    make_tiny: Callable[..., OpenCLIP], tmp_path: Path, small_task: Task
) -> None:
    problem = open_problem(make_tiny(cache=tmp_path), small_task, "blackvip-se", 14, batch=8)
    kept = list(tmp_path.rglob("*"))
    first, *steps = get_method("blackvip-se")(problem)
    assert [first.queries, *[step.queries for step in steps]] == [0, 10, 14]
    assert problem.meter.predictions == {"search": 14 * 8}
    early, late = (step.solution for step in steps)
    assert isinstance(early, PromptedImages)
    assert isinstance(late, PromptedImages)
    assert early.strength == 1
    assert not np.array_equal(early.decoder.vector, late.decoder.vector)
    # The normalisations of the solution are those of its step, and measuring it changes nothing.
    averages = [each.decoder.body[2].running_mean.clone() for each in (early, late)]
    assert not np.array_equal(*averages)
    logits = early.logits(problem.box, problem.images)
    np.testing.assert_array_equal(early.decoder.body[2].running_mean, averages[0])
    np.testing.assert_array_equal(logits, early.logits(problem.box, problem.images))
    plain = problem.box.score(early.prompt, problem.images)
    assert logits.shape == plain.shape
    assert not np.allclose(logits, plain)
    assert list(tmp_path.rglob("*")) == kept


def test_its_tower_may_be_a_file_or_any_local_features(
    tiny_vlm: OpenCLIP, small_task: Task, tower: str
) -> None:
    ends = []
    for encoder in (tower, "colours"):
        problem = open_problem(tiny_vlm, small_task, "blackvip", 10, batch=4, encoder=encoder)
        *_, end = get_method("blackvip")(problem)
        ends.append(end.solution)
    widths = [1568 - len(end.decoder.trigger) for end in ends]
    assert widths == [64, 27]


def test_a_tower_that_cannot_be_loaded_is_named_before_anything_is_asked(
    tiny_vlm: OpenCLIP, small_task: Task
) -> None:
    problem = open_problem(tiny_vlm, small_task, "blackvip", 10, encoder="timm:none@/no/file")
    with pytest.raises(CraftZooError, match="timm cannot load the model 'none@/no/file'"):
        get_method("blackvip")(problem)
    assert problem.meter.queries == 0
    with pytest.raises(CraftZooError, match="did you mean 'hog'"):
        get_method("blackvip")(open_problem(tiny_vlm, small_task, "blackvip", 9, encoder="hogg"))


def test_released_settings_differ_by_data_set() -> None:
    assert TABLE["eurosat"] == Gains(momentum=0.9, gamma=0.2, c=0.005, strength=0.4)
    assert Gains() == Gains(momentum=0.9, gamma=0.1, c=0.01, strength=1)

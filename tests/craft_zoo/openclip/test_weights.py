"""Settings with which weights are used, and the models' names."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip import factory, pretrained
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import QuickGELU

from craft_zoo.adapter import Adapter
from craft_zoo.benchmarks import Bench, Point, RunStore, combine, cross
from craft_zoo.blackbox import VLM, Journal, ReplayVLM, load_vlm
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, Task
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.openclip import (
    OpenCLIP,
    former_settings,
    model_name,
    with_activation,
)
from craft_zoo.openclip.weights import find_weights
from craft_zoo.solution import Solution

PAIRS = open_clip.list_pretrained()
AMBIGUOUS = ("roberta-ViT-B-32", "laion2b_s12b_b32k")
SIGLIP = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic"}
SIGLIP |= {"resize_mode": "squash"}
CLIP = {"mean": PreprocessCfg.mean, "std": PreprocessCfg.std, "interpolation": "bicubic"}
CLIP |= {"resize_mode": "shortest"}


def shrunk(config: dict[str, Any]) -> dict[str, Any]:
    """A small architecture of the same kind, which is created in milliseconds.

    The parts that other packages make become open_clip's own.
    """
    vision, text = config["vision_cfg"], config["text_cfg"]
    small = {"image_size": vision["image_size"], "width": 16, "head_width": 16}
    if isinstance(vision.get("layers"), list):
        small |= {"layers": [1, 1, 1, 1]}
    else:
        small |= {"layers": 1, "patch_size": vision["image_size"] // 4}
    words = {"context_length": text.get("context_length", 77), "vocab_size": 64}
    words |= {"width": 16, "heads": 1, "layers": 1}
    changed = {"embed_dim": 16, "vision_cfg": small, "text_cfg": words}
    kept = ("quick_gelu", "custom_text", "init_logit_scale", "init_logit_bias")
    return changed | {key: config[key] for key in kept if key in config}


def test_every_pretrained_model_is_built_as_its_tag_says(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = factory._MODEL_CONFIGS
    asked: list[str] = []

    def tokenizer(name: str) -> open_clip.SimpleTokenizer:
        asked.append(name)
        return open_clip.tokenizer._tokenizer

    monkeypatch.setattr(
        factory, "_MODEL_CONFIGS", {name: shrunk(config) for name, config in whole.items()}
    )
    monkeypatch.setattr(factory, "download_pretrained", lambda *_, **__: "weights.pt")
    monkeypatch.setattr(factory, "load_checkpoint", lambda *_, **__: None)
    monkeypatch.setattr(open_clip, "get_tokenizer", tokenizer)
    wrong = []
    known: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model, tag in PAIRS:
            if (model, tag) == AMBIGUOUS:
                continue
            says, own = open_clip.get_pretrained_cfg(model, tag), whole[model]
            name = model_name(model, tag)
            wrong += [(model, tag, "name")] if load_names(model, tag) != {name} else []
            # Of models that are the same but for their size, one is built.
            alike = repr(
                (shrunk(own), {k: v for k, v in says.items() if k not in ("url", "hf_hub")})
            )
            if alike in known:
                continue
            known.add(alike)
            vlm = load_vlm(model, tag, device="cpu", cache=False)
            assert isinstance(vlm, OpenCLIP)
            expected = {
                "name": name,
                "activation": {QuickGELU if says.get("quick_gelu") else torch.nn.GELU},
                "size": own["vision_cfg"]["image_size"],
                "preprocess": preprocess(says, own["vision_cfg"]["image_size"]),
                "tokenizer": own["text_cfg"],
                "scale": own.get("init_logit_scale", float(torch.tensor(1 / 0.07).log())),
                "bias": own.get("init_logit_bias"),
            }
            bias = vlm._model.logit_bias
            found = {
                "name": vlm.name,
                "activation": activations(vlm),
                "size": vlm.image_size,
                "preprocess": repr(vlm._preprocess),
                "tokenizer": whole[asked[-1]]["text_cfg"],
                "scale": pytest.approx(float(vlm._model.logit_scale)),
                "bias": None if bias is None else float(bias),
            }
            wrong += [(model, tag, key) for key in expected if found[key] != expected[key]]
    assert wrong == []


def load_names(model: str, tag: str) -> set[str]:
    """The name of a model, from each way to give architecture and weights; one if all agree."""
    name = model_name(model, tag)
    return {name, model_name(f"{model}@{tag}"), model_name(name), model_name(*name.split("@", 1))}


def activations(vlm: OpenCLIP) -> set[type]:
    kinds = (QuickGELU, torch.nn.GELU)
    return {type(module) for module in vlm._model.modules() if isinstance(module, kinds)}


def preprocess(says: dict[str, Any], size: int) -> str:
    keys = ("mean", "std", "interpolation", "resize_mode")
    return repr(image_transform_v2(PreprocessCfg(size=size, **{k: says[k] for k in keys}), False))


def test_a_name_changes_where_the_answers_changed_and_nowhere_else() -> None:
    changed = {pair for pair in PAIRS if model_name(*pair) != "@".join(pair)}
    quick = {pair: bool(open_clip.get_pretrained_cfg(*pair).get("quick_gelu")) for pair in PAIRS}
    own = {pair: open_clip.get_model_config(pair[0]).get("quick_gelu", False) for pair in PAIRS}
    assert changed == {pair for pair in PAIRS if quick[pair] and not own[pair]}
    assert len(changed) == 27
    assert {model_name(*pair) for pair in changed} == {
        f"{model}-quickgelu@{tag}" for model, tag in changed
    }
    before = {pair for pair in PAIRS if former_settings("@".join(pair))}
    assert before == changed | {AMBIGUOUS}
    assert not any(former_settings(model_name(*pair)) for pair in changed)


def test_configurations_that_contradict_each_other_are_asked_about() -> None:
    with pytest.raises(
        CraftZooError, match=r"contradict .*roberta.*quickgelu=True \(--quickgelu\), as earlier"
    ):
        load_vlm(*AMBIGUOUS)
    for quick, suffix in ((True, "-quickgelu"), (False, "-gelu")):
        model = with_activation(AMBIGUOUS[0], quick)
        assert model == AMBIGUOUS[0] + suffix
        assert find_weights(model, AMBIGUOUS[1]).settings.quick_gelu is quick


@pytest.mark.parametrize(
    ("model", "weights", "quickgelu", "message"),
    [
        ("ViT-B-32", "laion2b_e16", True, "neither a file nor weights .* ViT-B-32-quickgelu: "),
        (
            "t-small",
            "gelu",
            True,
            r"t-small@gelu were trained with GELU: leave out quickgelu=True \(--quickgelu",
        ),
        ("ViT-B-32-quickgelu", "openai", False, "says QuickGELU and the option GELU: leave out"),
        ("craft-mini", None, True, "activation of craft-mini is part of it: leave out quickgelu"),
        ("hf-hub:a/b", None, False, "is part of it: leave out"),
        ("https://there", None, True, "is part of it: leave out"),
        ("hf-hub:a/b", "openai", None, "has weights of its own: leave out pretrained"),
    ],
)
def test_activations_that_cannot_be_asked_for(
    small: Path, model: str, weights: str | None, quickgelu: bool | None, message: str
) -> None:
    with pytest.raises(CraftZooError, match=message):
        load_vlm(model, weights, quickgelu=quickgelu)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Architectures t-small, whose tags disagree, and t-agreed, whose tags agree, and weights."""
    vision = {"image_size": 32, "layers": 1, "width": 16, "head_width": 16, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    tags = {
        "t-small": {"openai": CLIP | {"quick_gelu": True}, "gelu": CLIP},
        "t-agreed": {"webli": SIGLIP, "other": SIGLIP},
        "t-unknown": {},
    }
    for name, known in tags.items():
        monkeypatch.setitem(factory._MODEL_CONFIGS, name, deepcopy(config))
        monkeypatch.setitem(pretrained._PRETRAINED, name, known)
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    return tmp_path / "w.pt"


def opened(model: str, weights: Path | str, **options: Any) -> tuple[OpenCLIP, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vlm = load_vlm(model, str(weights), device="cpu", cache=False, **options)
    assert isinstance(vlm, OpenCLIP)
    return vlm, [str(each.message) for each in caught if each.category is CraftZooWarning]


def test_a_file_of_which_the_activation_cannot_be_known(small: Path) -> None:
    vlm, said = opened("t-small", small)
    assert (vlm.name, activations(vlm)) == (f"t-small@{small}", {torch.nn.GELU})
    assert len(said) == 1
    assert "does not specify its activation, in which weights for t-small differ" in said[0]
    assert "is used with GELU: say quickgelu=True (--quickgelu) where it was trained so" in said[0]
    assert "give pretrained='TAG@FILE' (--pretrained TAG@FILE)" in said[0]
    for quick, suffix in ((True, "-quickgelu"), (False, "-gelu")):
        vlm, said = opened("t-small", small, quickgelu=quick)
        assert said == []
        assert vlm.name == f"t-small{suffix}@{small}" == model_name(vlm.name)
        assert activations(vlm) == {QuickGELU if quick else torch.nn.GELU}
        assert load_vlm(vlm.name, device="cpu").name == vlm.name


@pytest.mark.parametrize("is_folder", [False, True])
def test_runs_on_weights_that_were_replaced_meanwhile(
    is_folder: bool, small: Path, small_task: Task, tmp_path: Path
) -> None:
    """A file of the same name took the first weights' runs, and a journal mixed both's answers."""
    name = f"local-dir:{tmp_path}" if is_folder else f"t-unknown@{small}"
    if is_folder:
        config = {"model_cfg": factory._MODEL_CONFIGS["t-unknown"], "preprocess_cfg": {}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
        small = small.rename(tmp_path / "model.pth")
    variants = combine(["zero-shot"], [], CraftConfig())
    digits = [DatasetSpec("digits")]
    (run,) = cross(name, digits, variants, shots=[1], seeds=[1], budgets=[1])
    points = [Point(0, 0.5, 0.5, 1.0, 0, 0, 1, 0.1)]
    store = RunStore(tmp_path / "out")

    def ask(model: VLM) -> None:
        with Journal(tmp_path / "journal") as journal:
            images = (vlm := ReplayVLM(model, journal)).images(small_task.train.images[:2])
            vlm.classifier(["cat", "dog"]).score("a {}.", images)

    for _ in range(2):
        vlm = load_vlm(name, device="cpu", cache=False)
        ask(vlm)
        store.check_model(vlm)
        store.save(run, points, None, described=vlm.identity())
        box = vlm.classifier(["cat", "dog"])
        Adapter.of(Solution(box.initial_context), vlm, box).save(tmp_path / "a.adapter")
        Adapter.load(tmp_path / "a.adapter").open(vlm)  # a warning would be an error
        (tmp_path / "README.md").write_text("ours")
    weights = torch.load(small)
    factors = {key: 1 + key.startswith("visual") for key in weights}
    torch.save({key: factors[key] * value for key, value in weights.items()}, small)
    vlm = load_vlm(name, device="cpu", cache=False)
    with pytest.raises(CraftZooError, match=r"is another model than when .*journal was begun"):
        ask(vlm)
    with pytest.raises(CraftZooError, match=r"is another model than when .* was made.*\(--out\)"):
        Bench(vlm, store)
    with pytest.warns(CraftZooWarning, match="is another model than when the adapter was tuned"):
        Adapter.load(tmp_path / "a.adapter").open(vlm)


def test_a_file_is_used_as_a_tag_says(small: Path) -> None:
    vlm, said = opened("t-small", f"openai@{small}")
    assert (vlm.name, said) == (f"t-small@openai@{small}", [])
    assert activations(vlm) == {QuickGELU}
    assert load_vlm(vlm.name, device="cpu").name == vlm.name
    with pytest.raises(CraftZooError, match="neither a file nor weights"):
        load_vlm("t-small", "openai@nowhere.pt")


def test_a_file_is_used_as_all_weights_of_its_architecture(small: Path) -> None:
    vlm, said = opened("t-agreed", small)
    assert (vlm.name, said) == (f"t-agreed@webli@{small}", [])
    assert repr(vlm._preprocess) == preprocess(SIGLIP, 32)
    assert former_settings(f"t-agreed@{small}")
    vlm, said = opened("t-unknown", small)
    assert (vlm.name, said) == (f"t-unknown@{small}", [])
    assert not former_settings(f"t-unknown@{small}")


def test_what_was_saved_from_openais_weights_is_known(small: Path, tmp_path: Path) -> None:
    state = torch.load(small) | {"input_resolution": torch.tensor(32), "vocab_size": 49408}
    torch.save(state, tmp_path / "openai.pt")
    vlm, said = opened("t-small", tmp_path / "openai.pt")
    assert (activations(vlm), said) == ({QuickGELU}, [])
    vlm, said = opened("t-small", tmp_path / "openai.pt", quickgelu=False)
    assert activations(vlm) == {torch.nn.GELU}
    assert "saved from a model that computes with QuickGELU, and t-small-gelu@" in said[0]


@pytest.mark.parametrize("quick", [True, False])
def test_a_torchscript_archive_shows_its_activation(
    small: Path, tmp_path: Path, quick: bool
) -> None:
    config = open_clip.get_model_config("t-small")
    model = open_clip.CLIP(**config, quick_gelu=quick).eval()
    words = torch.zeros(1, 77, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer
        torch.jit.trace(model, (torch.zeros(1, 3, 32, 32), words)).save(tmp_path / "jit.pt")
    vlm, said = opened("t-small", tmp_path / "jit.pt")
    assert activations(vlm) == {QuickGELU if quick else torch.nn.GELU}
    assert said == []
    for key, value in model.state_dict().items():
        assert torch.equal(vlm._model.state_dict()[key], value)


def test_a_file_in_the_folder_does_not_hide_a_tag(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("openai", "OpenAI"):
        (tmp_path / name).write_bytes(small.read_bytes())
    assert model_name("t-small", "openai") == "t-small-quickgelu@openai"
    assert model_name("t-small", "OpenAI") == f"t-small@{tmp_path / 'OpenAI'}"
    vlm, _ = opened("t-small", "OpenAI")  # open_clip itself takes it for the tag
    assert vlm.name == f"t-small@{tmp_path / 'OpenAI'}"


def test_a_folder_without_weights_is_refused(small: Path, tmp_path: Path) -> None:
    config = '{"model_cfg": {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 1, '
    config += '"width": 16, "head_width": 16, "patch_size": 16}, "text_cfg": {"width": 16, '
    config += '"heads": 1, "layers": 1}}}'
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "open_clip_config.json").write_text(config)
    with pytest.raises(CraftZooError, match="no CLIP weights found"):
        load_vlm(f"local-dir:{tmp_path / 'model'}")


def test_what_a_library_warns_of_is_passed_on(small: Path, tmp_path: Path) -> None:
    config = '{"model_cfg": {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 1, '
    config += '"width": 16, "head_width": 16, "patch_size": 16}, "text_cfg": {"width": 16, '
    config += '"heads": 1, "layers": 1}}}'
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(config)
    for name in ("a.pth", "b.pth"):
        (folder / name).write_bytes(small.read_bytes())
    with pytest.warns(CraftZooWarning, match=r"Multiple checkpoints found .*Using 'a.pth'"):
        load_vlm(f"local-dir:{folder}", device="cpu")

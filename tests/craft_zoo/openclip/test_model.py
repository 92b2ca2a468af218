"""open_clip models behind the common model interface."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from craft_zoo import mini
from craft_zoo.blackbox import VLM, load_vlm
from craft_zoo.data import Task, open_image
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import OpenCLIP
from craft_zoo.openclip.text import CausalTextEncoder, ForwardTextEncoder
from craft_zoo.tuning import tune

NAMES = ["cat", "annual crop land", "forklift truck"]


def test_logits_are_open_clips_own(vlm: OpenCLIP, small_task: Task) -> None:
    assert_open_clips_logits(vlm, small_task)


def save_random(model: str, path: Path) -> Path:
    """Save a checkpoint of an architecture with random weights."""
    torch.manual_seed(0)
    torch.save(open_clip.create_model(model).state_dict(), path)
    return path


@pytest.mark.parametrize(
    "model", ["ViT-S-32-alt", pytest.param("ViT-B-32", marks=pytest.mark.slow)]
)
def test_an_architecture_from_a_local_file(model: str, small_task: Task, tmp_path: Path) -> None:
    path = save_random(model, tmp_path / "vit.pt")
    vlm = load_vlm(model, str(path))
    assert vlm.name == f"{model}@{path}"
    assert_open_clips_logits(vlm, small_task)
    assert load_vlm(vlm.name).name == vlm.name


TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 1}
OWN = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16}
TIMM = {"image_size": 160, "timm_model_name": "test_vit"}
SIGLIP = TEXT | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
CONFIGS = {
    "SigLIP": (TIMM | {"timm_pool": "map", "timm_proj": "none"}, SIGLIP),
    "timm, class token": (TIMM | {"timm_pool": "token", "timm_proj": "linear"}, TEXT),
    "timm, mean": (TIMM | {"timm_pool": "avg", "timm_proj": "mlp"}, TEXT),
    "mean": (OWN | {"pool_type": "avg", "final_ln_after_pool": True}, TEXT),
    "attentional": (OWN | {"attentional_pool": True, "attn_pooler_heads": 4}, TEXT),
    "CoCa": (
        OWN | {"attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
        TEXT | {"embed_cls": True, "output_tokens": True},
    ),
    "first position": (OWN, TEXT | {"pool_type": "first"}),
}


def folder_of(config: dict[str, Any], path: Path) -> str:
    """The name of a model with random weights in a folder."""
    size = {"size": config["vision_cfg"]["image_size"]}
    file = path / "open_clip_config.json"
    file.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": size}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{path}", load_weights=False)
    save_file(model.state_dict(), path / "open_clip_model.safetensors")
    return f"local-dir:{path}"


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_kind_of_pooling(kind: str, small_task: Task, tmp_path: Path) -> None:
    vision, text = CONFIGS[kind]
    config = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text, "custom_text": True}
    if kind == "SigLIP":
        config["init_logit_bias"] = -10
    if kind == "CoCa":
        config |= {"embed_dim": 32, "multimodal_cfg": TEXT}
    vlm = OpenCLIP.load(folder_of(config, tmp_path), cache=False)
    assert_open_clips_logits(vlm, small_task)


def test_an_image_size_that_the_tower_does_not_take_is_a_sentence(tmp_path: Path) -> None:
    vision = TIMM | {"image_size": 150, "timm_pool": "token", "timm_proj": "linear"}
    name = folder_of({"embed_dim": 64, "vision_cfg": vision, "text_cfg": TEXT}, tmp_path)
    with pytest.raises(
        CraftZooError, match=r"divisible by patch size.*: check image_size .* is 150"
    ):
        load_vlm(name).images([np.zeros((8, 8, 3), np.uint8)], keep=False)


def assert_open_clips_logits(vlm: OpenCLIP, task: Task) -> None:
    """Equal to logit_scale · encode_image · encode_text of the same sentence, to 1e-4."""
    images = task.test.images[:12]
    box = vlm.classifier(NAMES)
    ours = next(box.logits(box.initial_context[None], vlm.images(images)))
    model, preprocess, tokenizer = vlm._model, vlm._preprocess, vlm._tokenizer
    with torch.inference_mode():
        pixels = torch.stack([preprocess(open_image(image)) for image in images])
        texts = tokenizer([f"a photo of a {name}." for name in NAMES])
        theirs = model.encode_image(pixels, normalize=True) @ model.encode_text(texts, True).T
        theirs = model.logit_scale.exp() * theirs + (getattr(model, "logit_bias", None) or 0)
    assert ours.shape == (12, 3)
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs.numpy()).max() < 1e-4


def test_contexts_are_answered_in_order_and_alone_as_together(
    vlm: OpenCLIP, small_task: Task
) -> None:
    box, images = vlm.classifier(NAMES), vlm.images(small_task.test.images[:5])
    rng = np.random.default_rng(0)
    contexts = box.initial_context + 0.3 * rng.standard_normal((5, 4, 256)).astype(np.float32)
    together = list(box.logits(contexts, images))
    for context, logits in zip(contexts, together, strict=True):
        assert np.abs(next(box.logits(context[None], images)) - logits).max() < 1e-4


def test_several_label_sets_on_the_same_images(vlm: OpenCLIP, small_task: Task) -> None:
    images = vlm.images(small_task.test.images[:3])
    for names in (["cat"], NAMES):
        box = vlm.classifier(names)
        assert next(box.logits(box.initial_context[None], images)).shape == (3, len(names))


def test_images_of_another_model_are_refused(vlm: OpenCLIP, small_task: Task) -> None:
    images = load_vlm("craft-mini").images(small_task.test.images[:2])
    box = vlm.classifier(NAMES)
    with pytest.raises(CraftZooError, match="another model"):
        next(box.logits(box.initial_context[None], images))
    with pytest.raises(CraftZooError, match="another model"):
        vlm.features(images)


def test_features_are_not_visible_through_the_interface(vlm: OpenCLIP, small_task: Task) -> None:
    from craft_zoo.blackbox import BlackBox, ImageSet

    assert {name for name in vars(ImageSet) if not name.startswith("_")} == set()
    seen = {"logits", "score", "template", "initial_prompt", "initial_context"}
    seen |= {"held_bytes", "questions", "fits"}
    assert {name for name in vars(BlackBox) if not name.startswith("_")} == seen


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = save_random("ViT-S-32-alt", tmp_path / "vit.pt")
    with pytest.raises(CraftZooError, match=r"ViT-S-16-alt with weights .* cannot be loaded"):
        load_vlm("ViT-S-16-alt", str(path))


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_text("no weights")
    with pytest.raises(CraftZooError, match="cannot be loaded"):
        load_vlm("ViT-B-32", str(path))


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-33", None, "unknown model 'ViT-B-33': did you mean 'ViT-B-32'"),
        ("ViT-B-32", None, r"needs weights: add pretrained \(--pretrained\).*openai"),
        ("ViT-B-32", "nowhere.pt", "neither a file nor weights"),
        ("ViT-B-32", "openai", "cannot be loaded .*reaches the hub"),
        ("craft-mini", "openai", "craft-mini has weights of its own"),
    ],
)
def test_models_that_cannot_be_had(model: str, pretrained: str | None, message: str) -> None:
    with pytest.raises(CraftZooError, match=message):
        load_vlm(model, pretrained)


def test_unknown_precision_and_device() -> None:
    with pytest.raises(CraftZooError, match="unknown precision 'fp8': choose fp32"):
        load_vlm("craft-mini", precision="fp8")
    with pytest.raises(CraftZooError, match="unknown device 'gpu'"):
        load_vlm("craft-mini", device="gpu")


def test_no_class_names(vlm: OpenCLIP) -> None:
    with pytest.raises(CraftZooError, match="no class names"):
        vlm.classifier([])


def test_logits_do_not_depend_on_the_memory_for_scoring(vlm: OpenCLIP, small_task: Task) -> None:
    answers = []
    for memory in (1, 1024):
        model = load_vlm("craft-mini", memory=memory)
        box, images = model.classifier(NAMES), model.images(small_task.test.images[:5])
        contexts = box.initial_context * np.linspace(0.5, 3, 50, dtype=np.float32)[:, None, None]
        answers.append(np.stack(list(box.logits(contexts, images))))
    assert np.abs(answers[0] - answers[1]).max() < 1e-4
    with pytest.raises(CraftZooError, match="at least 1 MB, not 0"):
        load_vlm("craft-mini", memory=0)


@pytest.fixture(scope="module")
def half() -> VLM:
    return load_vlm("craft-mini", precision="fp16")


def test_half_precision_is_the_same_model_in_other_numbers(
    vlm: OpenCLIP, half: VLM, small_task: Task
) -> None:
    answers = [_answer(model, small_task) for model in (vlm, half)]
    difference = np.abs(answers[0] - answers[1]).max()
    assert 0 < difference < 0.02 * np.abs(answers[0]).max()
    assert answers[1].dtype == np.float32


def test_an_adapter_goes_from_single_to_half_precision(
    vlm: OpenCLIP, half: VLM, small_task: Task
) -> None:
    tuned = tune(vlm, small_task, method="zero-shot", budget=1).adapter
    images = small_task.test.images[:2]
    assert np.allclose(tuned.predict(half, images), tuned.predict(vlm, images), atol=0.02)


@pytest.mark.slow
def test_the_mixed_half_precision_of_open_clip(small_task: Task) -> None:
    torch.manual_seed(0)
    answers = []
    for precision in ("fp32", "fp16"):
        torch.manual_seed(0)
        model, _, preprocess = open_clip.create_model_and_transforms(
            "RN50", precision=precision, force_image_size=64
        )
        tokenizer = open_clip.get_tokenizer("RN50")
        answers.append(_answer(OpenCLIP(model, preprocess, tokenizer, name="RN50"), small_task))
    assert 0 < np.abs(answers[0] - answers[1]).max() < 0.02


def test_a_model_that_cannot_compute_in_half_precision_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("mat1 and mat2 must have the same dtype\nand more")

    monkeypatch.setattr("craft_zoo.openclip.model.ImageEncoder._run", fail)
    with pytest.raises(CraftZooError, match=r"cannot compute in fp16 \(mat1 .*dtype\): use"):
        load_vlm("craft-mini", precision="fp16")


def test_a_model_that_open_clip_cannot_convert_to_half_precision_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As SigLIP's text tower, whose projection has a bias."""
    vision = {"image_size": 16, "layers": 1, "width": 8, "patch_size": 8, "head_width": 8}
    text = {"context_length": 8, "width": 8, "heads": 1, "layers": 1, "proj_bias": True}
    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text, "custom_text": True}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", config)
    torch.save(open_clip.create_model("tiny").state_dict(), tmp_path / "w.pt")
    load_vlm("tiny", str(tmp_path / "w.pt"))
    with pytest.raises(CraftZooError, match=r"cannot be loaded .*, or use precision='fp32'"):
        load_vlm("tiny", str(tmp_path / "w.pt"), precision="bf16")


def _answer(model: VLM, task: Task) -> np.ndarray:
    box = model.classifier(NAMES)
    return next(box.logits(box.initial_context[None], model.images(task.test.images[:2])))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.01), ("fp16", 0.2), ("bf16", 1.0)])
def test_gpu_agrees_with_cpu(
    vlm: OpenCLIP, small_task: Task, precision: str, tolerance: float
) -> None:
    on_gpu = load_vlm("craft-mini", device="cuda", precision=precision)
    answers = [_answer(model, small_task) for model in (vlm, on_gpu)]
    assert np.abs(answers[0] - answers[1]).max() < tolerance


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_white_box_logits_come_from_a_gpu(vlm: OpenCLIP, small_task: Task) -> None:
    on_gpu = load_vlm("craft-mini", device="cuda")
    assert isinstance(on_gpu, OpenCLIP)
    context = 0.1 * torch.randn(5, 256)
    one, other = (
        each.white_box(small_task.classnames).logits(
            context[:4].requires_grad_(), each.images(small_task.test.images[:5]), context[None, 1:]
        )
        for each in (vlm, on_gpu)
    )
    assert other.device.type == "cpu"
    assert other.requires_grad
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("memory", [1, 1024])
def test_on_a_gpu_the_engine_agrees_with_the_towers_own_pass(memory: int) -> None:
    model, _, tokenizer = mini.create()
    model = model.cuda()
    options = {"init": "a photo of a", "memory": memory * 2**20}
    causal = CausalTextEncoder(model, tokenizer, NAMES, **options)
    forward = ForwardTextEncoder(model, tokenizer, NAMES, **options)
    contexts = causal.initial_context + 0.1 * torch.randn(7, 4, 256, device="cuda")
    for ours, theirs in zip(causal(contexts), forward(contexts), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_copy_in_another_process_loads_the_model_again(
    vlm: OpenCLIP, tiny_vlm: OpenCLIP, small_task: Task
) -> None:
    again = pickle.loads(pickle.dumps(load_vlm("craft-mini", memory=77)))
    assert again._memory == 77 * 2**20
    np.testing.assert_array_equal(_answer(again, small_task), _answer(vlm, small_task))
    with pytest.raises(CraftZooError, match="tiny was not loaded from files and cannot be copied"):
        pickle.dumps(tiny_vlm)


def test_torchs_default_type_does_not_matter(tiny_vlm: OpenCLIP, small_task: Task) -> None:
    expected = _answer(tiny_vlm, small_task)
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_allclose(_answer(tiny_vlm, small_task), expected, atol=1e-4)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("names", [["cat", "dog", "Cat"], ["dog", "dog"], ["a  cat", "a cat"]])
def test_class_names_of_the_same_tokens_are_refused(vlm: OpenCLIP, names: list[str]) -> None:
    with pytest.raises(CraftZooError, match=r"the model reads .* as the same tokens"):
        vlm.classifier(names)


def test_a_fingerprint_shows_what_changes_answers_and_nothing_of_the_packages(
    make_tiny: Callable[..., OpenCLIP],
) -> None:
    def fingerprint(change: Callable[[OpenCLIP], object]) -> str:
        vlm = make_tiny()
        change(vlm)
        return vlm.description()["fingerprint"]

    def with_another_activation(vlm: OpenCLIP) -> None:
        for block in vlm._model.transformer.resblocks:
            block.mlp.gelu = torch.nn.ReLU()

    def with_another_mean(vlm: OpenCLIP) -> None:
        vlm._preprocess = copy.deepcopy(vlm._preprocess)  # all tiny models share it
        vlm._preprocess.transforms[-1].mean = (0.5, 0.5, 0.5)

    before = fingerprint(lambda vlm: None)
    assert fingerprint(lambda vlm: setattr(vlm._model, "of_a_later_version", 3)) == before
    changed = {
        fingerprint(with_another_activation),
        fingerprint(lambda vlm: vlm._model.logit_scale.data.add_(1)),
        fingerprint(with_another_mean),
        fingerprint(lambda vlm: vlm._model.half()),
    }
    assert len(changed - {before}) == 4

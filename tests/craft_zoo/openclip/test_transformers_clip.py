"""CLIP models that the transformers library has saved, against that library's own logits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import transformers
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from open_clip import factory

from craft_zoo.blackbox import load_vlm
from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.openclip import OpenCLIP

NAMES = ["cat", "wooden ship", "tree"]
TEXT = {"hidden_size": 32, "intermediate_size": 50, "num_attention_heads": 4}
VISION = {"hidden_size": 48, "intermediate_size": 100, "num_attention_heads": 3}
VISION |= {"image_size": 32, "patch_size": 16}
SIZES = {"size": {"shortest_edge": 32}, "crop_size": 32}

MakeModel = Callable[..., transformers.CLIPModel]


@pytest.fixture
def make(tmp_path: Path) -> MakeModel:
    """Saves a small model with random weights in ``tmp_path / "model"``."""

    def saved(act: str = "quick_gelu", **save: Any) -> transformers.CLIPModel:
        shared = {"num_hidden_layers": 2, "hidden_act": act}
        config = transformers.CLIPConfig(
            text_config=TEXT | shared, vision_config=VISION | shared, projection_dim=24
        )
        torch.manual_seed(0)
        model = transformers.CLIPModel(config).eval()
        with torch.no_grad():
            for weights in model.parameters():
                weights += 0.1 * torch.randn_like(weights)
        model.save_pretrained(tmp_path / "model", **save)
        transformers.CLIPImageProcessor(**SIZES).save_pretrained(tmp_path / "model")
        return model

    return saved


def assert_equal(vlm: OpenCLIP, model: transformers.CLIPModel, images: list[ImageSource]) -> None:
    box = vlm.classifier(NAMES)
    ours = box.score(box.initial_context, vlm.images(images))
    texts = open_clip.tokenize([f"a photo of a {name}." for name in NAMES])
    processor = transformers.CLIPImageProcessor(**SIZES)
    pixels = processor([open_image(image) for image in images], return_tensors="pt").pixel_values
    with torch.inference_mode():
        theirs = model(input_ids=texts, pixel_values=pixels).logits_per_image.numpy()
    assert np.ptp(theirs) > 0.5
    assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize(("act", "save"), [("quick_gelu", {}), ("gelu", {"max_shard_size": "1MB"})])
def test_a_folder_has_the_logits_of_its_library(
    act: str, save: dict[str, Any], make: MakeModel, images: list[ImageSource], tmp_path: Path
) -> None:
    model = make(act, **save)
    folder = tmp_path / "model"
    assert (folder / "model.safetensors.index.json").exists() == bool(save)
    vlm = load_vlm(f"local-dir:{folder}", device="cpu")
    assert vlm.name == f"local-dir:{folder}"
    assert vlm.identity() != {}
    assert_equal(vlm, model, images)


def test_older_folders(make: MakeModel, images: list[ImageSource], tmp_path: Path) -> None:
    """Weights of torch.save with positions, and settings with a second name, as of 2022."""
    model, folder = make(), tmp_path / "model"
    weights = model.state_dict() | {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    for part in ("text_config", "vision_config"):
        config[f"{part}_dict"], config[part] = config[part], {"hidden_act": "gelu"}
    (folder / "config.json").write_text(json.dumps(config))
    images_of = {"size": 32, "crop_size": 32, "do_center_crop": True, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(images_of))
    assert_equal(load_vlm(f"local-dir:{folder}", device="cpu"), model, images)


@pytest.mark.parametrize(
    ("name", "crops"), [("preprocessor_config.json", True), ("processor_config.json", False)]
)
def test_pixels_are_those_of_the_image_processor(
    name: str, crops: bool, make: MakeModel, tmp_path: Path
) -> None:
    make()
    (tmp_path / "model" / "preprocessor_config.json").unlink()
    about: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 2}
    about |= {"size": {"height": 32, "width": 32}, "do_center_crop": crops, "crop_size": None}
    about = about if name.startswith("pre") else {"image_processor": about}
    (tmp_path / "model" / name).write_text(json.dumps(about))
    vlm = load_vlm(f"local-dir:{tmp_path / 'model'}", device="cpu")
    shown = str(vlm._preprocess)
    assert "size=(32, 32), interpolation=bilinear" in shown
    assert "mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25]" in shown


@pytest.mark.parametrize("missing", [EntryNotFoundError, LocalEntryNotFoundError])
def test_a_model_of_the_hub(
    missing: type[Exception],
    make: MakeModel,
    images: list[ImageSource],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be in the cache while the hub cannot be reached, which is asked once."""
    model, asked = make(), []

    def download(repository: str, name: str, local_files_only: bool = False) -> str:
        assert repository == "org/clip"
        asked.append(local_files_only)
        if not (tmp_path / "model" / name).exists():
            raise missing(name)
        return str(tmp_path / "model" / name)

    monkeypatch.setattr("craft_zoo.openclip.transformers_clip.hf_hub_download", download)
    vlm = load_vlm("hf-hub:org/clip", device="cpu")
    assert vlm.name == "hf-hub:org/clip"
    assert asked.count(False) == (1 if missing is LocalEntryNotFoundError else len(asked))
    assert_equal(vlm, model, images)
    if missing is LocalEntryNotFoundError:
        (tmp_path / "model" / "config.json").unlink()
        with pytest.raises(CraftZooError, match="or that this machine reaches the hub"):
            load_vlm("hf-hub:org/clip", device="cpu")


def test_a_file_of_weights_alone(
    make: MakeModel,
    images: list[ImageSource],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a training script saves it, ``torch.save(model.state_dict(), FILE)``."""
    vision = {"image_size": 32, "patch_size": 16, "width": 48, "head_width": 16, "layers": 2}
    text = {"width": 32, "heads": 4, "layers": 2, "mlp_ratio": 50.5 / 32}
    config = {"embed_dim": 24, "vision_cfg": vision | {"mlp_ratio": 100.5 / 48}, "text_cfg": text}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "t-clip", config)
    model, file = make(), tmp_path / "tuned.pt"
    torch.save({"model": model.state_dict()}, file)
    vlm = load_vlm(f"t-clip@{file}", quickgelu=True, device="cpu")
    assert_equal(vlm, model, images)
    with pytest.raises(CraftZooError, match=rf"open the folder, local-dir:{tmp_path / 'model'}"):
        load_vlm(f"t-clip@{tmp_path / 'model' / 'model.safetensors'}", device="cpu")


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("config.json", {"text_config": TEXT | {"vocab_size": 250_002}}, "text_config.vocab_size"),
        ("config.json", {"text_config": TEXT | {"hidden_act": "gelu"}}, "gelu for texts and quick"),
        ("config.json", {"text_config": TEXT | {"layer_norm_eps": 1e-3}}, "layer_norm_eps"),
        ("config.json", {"projection_dim": 16}, "have another shape: .*text_projection"),
        ("preprocessor_config.json", {"do_normalize": False}, "do_normalize"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 40}}, "than the 32 x 32 pixels"),
        ("preprocessor_config.json", {"do_center_crop": False}, "than the 32 x 32 pixels"),
        ("preprocessor_config.json", {"resample": 1}, "resample"),
        ("model.safetensors", None, "neither model.safetensors nor pytorch_model.bin"),
        ("config.json", None, "config.json cannot be read"),
    ],
)
def test_what_open_clip_cannot_compute_is_refused(
    file: str, changes: dict[str, Any] | None, said: str, make: MakeModel, tmp_path: Path
) -> None:
    make()
    path = tmp_path / "model" / file
    if changes is not None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    elif path.suffix == ".json":
        path.write_text("<html>")
    else:
        path.unlink()
    with pytest.raises(CraftZooError, match=said) as refused:
        load_vlm(f"local-dir:{tmp_path / 'model'}", device="cpu")
    assert "\n" not in str(refused.value)


def test_weights_of_another_image_size_are_resized_with_a_warning(
    make: MakeModel, tmp_path: Path
) -> None:
    make()
    for name, changes in (
        ("config.json", {"vision_config": VISION | {"num_hidden_layers": 2, "image_size": 48}}),
        ("config.json", {"text_config": TEXT | {"num_hidden_layers": 2}}),
        ("preprocessor_config.json", {"size": 48, "crop_size": 48}),
    ):
        path = tmp_path / "model" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.warns(CraftZooWarning, match="visual.positional_embedding was resized from"):
        load_vlm(f"local-dir:{tmp_path / 'model'}", device="cpu")


def test_a_part_of_the_weights_that_is_missing(make: MakeModel, tmp_path: Path) -> None:
    make(max_shard_size="1MB")
    sorted((tmp_path / "model").glob("model-*"))[1].unlink()
    with pytest.raises(CraftZooError, match=r"lacks model-00002-of-.*index.json names"):
        load_vlm(f"local-dir:{tmp_path / 'model'}", device="cpu")

"""Models that the transformers library computes, against that library's own logits."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tokenizers
import torch
import transformers
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from craft_zoo.blackbox import load_vlm
from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.errors import CraftZooError, CraftZooWarning

NAMES = ["cat", "wooden ship", "tree"]
TEXT = {"hidden_size": 32, "intermediate_size": 50, "num_attention_heads": 4}
TEXT |= {"num_hidden_layers": 2, "vocab_size": 40}
VISION = {"hidden_size": 48, "intermediate_size": 100, "num_attention_heads": 3}
VISION |= {"num_hidden_layers": 2, "image_size": 32, "patch_size": 16}
SIZE = {"height": 32, "width": 32}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {  # model, image processor, settings of texts
    "siglip": ("Siglip", "Siglip", {"max_position_embeddings": 40, "projection_size": 48}),
    "chinese_clip": ("ChineseCLIP", "ChineseCLIP", {}),
    "altclip": ("AltCLIP", "CLIP", {"project_dim": 24, "pad_token_id": 0}),
    "metaclip_2": ("MetaClip2", "CLIP", {"max_position_embeddings": 16, "eos_token_id": 1}),
}

MakeModel = Callable[[str], tuple[Any, Any, Any]]


@pytest.fixture
def make(tmp_path: Path) -> MakeModel:
    """Saves a small model with random weights in ``tmp_path / "model"``.

    Returns the model, its image processor and its tokenizer.
    """

    def saved(kind: str) -> tuple[Any, Any, Any]:
        name, processor_name, text = KINDS[kind]
        given = {} if kind == "siglip" else {"projection_dim": 24}
        config = getattr(transformers, f"{name}Config")(
            text_config=TEXT | text, vision_config=VISION, **given
        )
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}Model")(config).eval()
        with torch.no_grad():
            for weights in model.parameters():
                weights += 0.1 * torch.randn_like(weights)
            model.logit_scale.fill_(3)
        processor = getattr(transformers, f"{processor_name}ImageProcessor")(
            size=SIZE, crop_size=SIZE
        )
        tokenizer = of_pieces(tmp_path) if kind == "siglip" else of_words()
        for part in (model, processor, tokenizer):
            part.save_pretrained(tmp_path / "model")
        return model, processor, tokenizer

    return saved


def of_words() -> Any:
    """A tokenizer of words between a start and an end token."""
    words = ["<pad>", "</s>", "<s>", "<unk>", "a", "photo", "of", "cat", "wooden", "ship", "tree"]
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: place for place, word in enumerate(words)}, "<unk>")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 1)]
    )
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
        **special,
    )


def of_pieces(folder: Path) -> Any:
    """SigLIP's tokenizer with pieces of a small text."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"a photo of a {name}" for name in NAMES]),
        model_prefix=str(folder / "pieces"),
        vocab_size=30,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return transformers.SiglipTokenizer(str(folder / "pieces.model"), model_max_length=40)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_has_the_logits_of_its_library(
    kind: str, make: MakeModel, images: list[ImageSource], tmp_path: Path
) -> None:
    model, processor, tokenizer = make(kind)
    padding: dict[str, Any] = {"padding": True}
    if kind == "siglip":
        padding = {"padding": "max_length", "max_length": 40}
    texts = tokenizer([f"a photo of a {name}." for name in NAMES], return_tensors="pt", **padding)
    for name in ("token_type_ids", "attention_mask") if kind == "siglip" else ("token_type_ids",):
        texts.pop(name, None)  # SigLIP attends to the padding
    pixels = processor([open_image(image) for image in images], return_tensors="pt").pixel_values
    with torch.inference_mode():
        theirs = model(**texts, pixel_values=pixels).logits_per_image.numpy()
    assert np.ptp(theirs) > 0.5
    vlm = load_vlm(f"local-dir:{tmp_path / 'model'}", device="cpu")
    assert vlm.name == f"local-dir:{tmp_path / 'model'}"
    assert vlm.identity() != {}
    box = vlm.classifier(NAMES)
    encoded = vlm.images(images)
    assert box.score(box.initial_context, encoded) == pytest.approx(theirs, abs=1e-4)
    assert next(box.logits(["a photo of a {}."], encoded)) == pytest.approx(theirs, abs=1e-4)
    white = vlm.white_box(NAMES)  # type: ignore[attr-defined]
    without_bias = white.logits(torch.from_numpy(box.initial_context), encoded).numpy()
    assert np.ptp(without_bias - theirs) < 1e-3
    assert white.layers == 0
    other = next(box.logits(["a {}"], encoded))
    assert np.ptp(other - theirs) > 0.1


def test_a_model_of_the_hub_that_is_in_the_cache(
    make: MakeModel, images: list[ImageSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("siglip")
    repository = tmp_path / "hub" / "models--org--siglip"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    (tmp_path / "model").rename(repository / "snapshots" / ("0" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    vlm = load_vlm("hf-hub:org/siglip", device="cpu")
    assert vlm.name == "hf-hub:org/siglip"
    assert len(vlm.images(images)) == 4


def test_features_of_another_projection_are_not_taken_from_the_cache(
    make: MakeModel, images: list[ImageSource], tmp_path: Path
) -> None:
    make("chinese_clip")

    def features() -> np.ndarray:
        vlm = load_vlm(f"local-dir:{tmp_path / 'model'}", device="cpu", cache=tmp_path / "cache")
        return vlm.features(vlm.images(images))

    before = features()
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    weights["visual_projection.weight"] = -weights["visual_projection.weight"]
    save_file(weights, file, {"format": "pt"})
    assert features() == pytest.approx(-before)


def test_weights_that_are_missing_are_not_random(make: MakeModel, tmp_path: Path) -> None:
    """Surplus ones are left out, as the library does."""
    make("siglip")
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    save_file(weights | {"text_model.pooler.weight": torch.zeros(2)}, file, {"format": "pt"})
    with pytest.warns(CraftZooWarning, match=r"are left out, as text_model\.pooler\.weight"):
        load_vlm(f"local-dir:{tmp_path / 'model'}", device="cpu")
    del weights["text_model.head.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(CraftZooError, match=r"missing keys, as text_model\.head"):
        load_vlm(f"local-dir:{tmp_path / 'model'}", device="cpu")


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("config.json", {"model_type": "clipseg"}, "of type 'clipseg', .* types clip, altclip, "),
        ("preprocessor*", None, "image processor cannot be read .*: save both beside"),
        ("spiece.model", None, "tokenizer and its .* cannot be read .*: save both beside"),
        ("preprocessor_config.json", {"do_normalize": False}, "image processor of .*do_normalize"),
        ("preprocessor_config.json", {"size": {"height": 48, "width": 48}}, "than the 32 x 32"),
    ],
)
def test_what_cannot_be_computed_is_refused(
    file: str, changes: dict[str, Any] | None, said: str, make: MakeModel, tmp_path: Path
) -> None:
    make("siglip")
    for path in (tmp_path / "model").glob(file):
        if changes is None:
            path.unlink()
        else:
            path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CraftZooError, match=said) as refused:
        load_vlm(f"local-dir:{tmp_path / 'model'}", device="cpu")
    assert "\n" not in str(refused.value)


def test_a_tokenizer_that_cannot_fill_up_texts_is_refused(make: MakeModel, tmp_path: Path) -> None:
    make("chinese_clip")
    path = tmp_path / "model" / "tokenizer_config.json"
    about = json.loads(path.read_text())
    del about["pad_token"]
    path.write_text(json.dumps(about))
    with pytest.raises(CraftZooError, match=r"fills up texts: set pad_token in tokenizer_config"):
        load_vlm(f"local-dir:{tmp_path / 'model'}", device="cpu")


def test_a_missing_library_names_its_extra(
    make: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("siglip")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CraftZooError, match=r"needs the package transformers: .*\[transformers\]"):
        load_vlm(f"local-dir:{tmp_path / 'model'}", device="cpu")

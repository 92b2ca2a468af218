"""CLIP models saved by the transformers library: their weights and settings as open_clip's.

``save_pretrained`` writes a folder with the settings of the model (config.json) and of its image
processor beside the weights. The formats are those of ``CLIPModel`` and ``CLIPImageProcessor``:
https://huggingface.co/docs/transformers/model_doc/clip.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from pydantic import BaseModel, Field
from torch import Tensor

from craft_zoo.errors import CraftZooError
from craft_zoo.openclip.checkpoint import read_checkpoint
from craft_zoo.records import check, parse

CONFIG, OPEN_CLIP_CONFIG = "config.json", "open_clip_config.json"
_IMAGE_CONFIG, _PROCESSOR_CONFIG = "preprocessor_config.json", "processor_config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_INDEX = ".index.json"
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # by Pillow's numbers
_PREFIXES = ("text_model.", "vision_model.")
_NAMES = (
    ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("text_model.final_layer_norm.", "ln_final."),
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.patch_embedding.", "visual.conv1."),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    ("vision_model.pre_layrnorm.", "visual.ln_pre."),  # spelt so
    ("vision_model.post_layernorm.", "visual.ln_post."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
    (".self_attn.out_proj.", ".attn.out_proj."),
)
_MATRICES = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
_ATTENTION = re.compile(r"(.*)\.self_attn\.([qkv])_proj\.(weight|bias)")

Find = Callable[[str], Path | None]  # a file of the model by its name, or None
_Count = Annotated[int, Field(gt=0)]
_Three = tuple[float, float, float]


class _Tower(BaseModel):
    """Settings that both towers have, with the defaults of transformers."""

    num_hidden_layers: _Count = 12
    hidden_act: Literal["quick_gelu", "gelu"] = "quick_gelu"
    layer_norm_eps: Annotated[float, Field(ge=0.9e-5, le=1.1e-5)] = 1e-5  # open_clip has no other


class _Text(_Tower):
    hidden_size: _Count = 512
    intermediate_size: _Count = 2048
    num_attention_heads: _Count = 8
    max_position_embeddings: _Count = 77
    vocab_size: Literal[49408] = 49408  # of CLIP's own tokenizer


class _Vision(_Tower):
    hidden_size: _Count = 768
    intermediate_size: _Count = 3072
    num_attention_heads: _Count = 12
    image_size: _Count = 224
    patch_size: _Count = 32
    num_channels: Literal[3] = 3


class _Config(BaseModel):
    """Settings of a model. Files of 2022 have those that hold under a second name."""

    model_type: Literal["clip"]
    projection_dim: _Count = 512
    text_config: _Text | None = None
    vision_config: _Vision | None = None
    text_config_dict: _Text | None = None
    vision_config_dict: _Vision | None = None


class _Size(BaseModel):
    height: _Count
    width: _Count


class _ShortestEdge(BaseModel):
    shortest_edge: _Count


class _Images(BaseModel):
    """Settings of the image processor, with the defaults of transformers."""

    do_resize: Literal[True] = True
    do_rescale: Literal[True] = True
    do_normalize: Literal[True] = True
    do_center_crop: bool = True
    size: _ShortestEdge | _Size | _Count = 224
    crop_size: _Size | _Count = 224
    resample: Literal[2, 3] = 3
    rescale_factor: Annotated[float, Field(ge=0.0039, le=0.00393)] = 1 / 255
    image_mean: _Three = (0.48145466, 0.4578275, 0.40821073)
    image_std: _Three = (0.26862954, 0.26130258, 0.27577711)


class Saved(NamedTuple):
    """A model that transformers has saved.

    Attributes:
        config: content of the open_clip_config.json that open_clip builds the model from.
        weights: by open_clip's names.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]


def finder(model: str) -> Find | None:
    """What finds the files of a model that transformers has saved; None for other models.

    Files of a model on the hub are downloaded.

    Args:
        model: a name such as ``local-dir:FOLDER`` or ``hf-hub:ORG/NAME``.
    """
    schema, _, name = model.partition(":")
    if schema != "hf-hub":
        find: Find = partial(_in_folder, name)
        return None if find(OPEN_CLIP_CONFIG) or not find(CONFIG) else find
    try:
        hf_hub_download(name, OPEN_CLIP_CONFIG)
    except LocalEntryNotFoundError:  # the hub cannot be reached, which takes half a minute
        find = partial(_downloaded, name, cached=True)
        if not find(CONFIG):
            raise
        return find
    except EntryNotFoundError:
        find = partial(_downloaded, name, cached=False)
        return find if find(CONFIG) else None
    return None


def model_type(find: Find) -> str:
    """The type of a model that transformers has saved, as ``clip``."""
    return str(_read_json(_config(find)).get("model_type"))


def read_saved(model: str, find: Find) -> Saved:
    """Read a CLIP model that transformers has saved.

    Args:
        model: its name, for error messages.
        find: finds its files.

    Raises:
        CraftZooError: a file is missing or broken, or open_clip cannot compute as the model does.
    """
    return Saved(_open_clip_config(find), open_clip_names(_read_weights(model, find)))


def _config(find: Find) -> Path:
    path = find(CONFIG)
    assert path is not None  # a finder has seen it
    return path


def _in_folder(folder: str, name: str) -> Path | None:
    return path if (path := Path(folder, name)).exists() else None


def _downloaded(repository: str, name: str, *, cached: bool) -> Path | None:
    try:
        return Path(hf_hub_download(repository, name, local_files_only=cached))
    except EntryNotFoundError:
        return None


def has_transformers_names(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names of weights are those of transformers."""
    return any(name.startswith(_PREFIXES) for name in weights)


def open_clip_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights by open_clip's names. Unknown names stay as they are."""
    named: dict[str, Tensor] = {}
    attention: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        for theirs, ours in _NAMES:
            name = name.replace(theirs, ours)
        if found := _ATTENTION.fullmatch(name):
            attention.setdefault(f"{found[1]}.attn.in_proj_{found[3]}", {})[found[2]] = value
        elif name in _MATRICES:
            named[_MATRICES[name]] = value.T.contiguous()
        elif not name.endswith(".position_ids"):  # saved by versions before 4.31
            named[name] = value
    for name, parts in attention.items():
        named[name] = torch.cat([parts[part] for part in "qkv" if part in parts])
    return named


def _read_weights(model: str, find: Find) -> dict[str, Tensor]:
    for name in _WEIGHTS:
        if file := find(name):
            return read_checkpoint(file).weights
        if index := find(name + _INDEX):  # of files that are parts of large weights
            weights: dict[str, Tensor] = {}
            for part in sorted(set(_read_json(index).get("weight_map", {}).values())):
                if not (file := find(Path(part).name)):
                    raise CraftZooError(f"{model} lacks {part}, which its {index.name} names")
                weights |= read_checkpoint(file).weights
            return weights
    raise CraftZooError(f"{model} has neither {' nor '.join(_WEIGHTS)}")


def _open_clip_config(find: Find) -> dict[str, Any]:
    path = _config(find)
    config: _Config = _checked(_Config, _read_json(path), str(path))
    text = config.text_config_dict or config.text_config or _Text()
    vision = config.vision_config_dict or config.vision_config or _Vision()
    if text.hidden_act != vision.hidden_act:
        raise CraftZooError(
            f"{path} says {text.hidden_act} for texts and {vision.hidden_act} for "
            f"images, and open_clip computes both alike"
        )
    size = vision.image_size
    return {
        "model_cfg": {
            "embed_dim": config.projection_dim,
            "quick_gelu": text.hidden_act == "quick_gelu",
            "vision_cfg": {
                "image_size": size,
                "patch_size": vision.patch_size,
                "width": vision.hidden_size,
                "layers": vision.num_hidden_layers,
                "head_width": vision.hidden_size // vision.num_attention_heads,
                "mlp_ratio": _ratio(vision),
            },
            "text_cfg": {
                "context_length": text.max_position_embeddings,
                "vocab_size": text.vocab_size,
                "width": text.hidden_size,
                "layers": text.num_hidden_layers,
                "heads": text.num_attention_heads,
                "mlp_ratio": _ratio(text),
            },
        },
        "preprocess_cfg": _preprocessing(find, size),
    }


def _ratio(tower: _Text | _Vision) -> float:
    """Ratio whose product with the width open_clip rounds down to the size of the hidden layer."""
    return (tower.intermediate_size + 0.5) / tower.hidden_size


def _preprocessing(find: Find, size: int) -> dict[str, Any]:
    """open_clip's settings of the image processor whose files ``find`` finds."""
    said: dict[str, Any] = {}
    if path := find(_IMAGE_CONFIG):
        said = _read_json(path)
    elif path := find(_PROCESSOR_CONFIG):
        said = _read_json(path).get("image_processor") or {}
    return image_settings(said, str(path or _IMAGE_CONFIG), size)


def image_settings(said: Mapping[str, Any], where: str, size: int) -> dict[str, Any]:
    """open_clip's settings of an image processor.

    Args:
        said: settings of the image processor; what is missing is as for CLIP.
        where: where they were read, for error messages.
        size: side of the images that the model takes, in pixels.

    Raises:
        CraftZooError: open_clip cannot prepare images so.
    """
    said = {name: value for name, value in said.items() if value is not None}
    about = {"size": size, "crop_size": size} | said
    images: _Images = _checked(_Images, about, where)
    square = _Size(height=size, width=size)
    mode = "squash" if images.size == square else "shortest"
    fits = not images.do_center_crop or images.crop_size in (size, square)
    if mode == "shortest":
        same = images.size in (size, _ShortestEdge(shortest_edge=size))
        fits = fits and same and images.do_center_crop
    if not fits:
        raise CraftZooError(
            f"{where} makes images of another size than the {size} x {size} pixels that the model "
            f"takes"
        )
    return {
        "size": size,
        "mean": images.image_mean,
        "std": images.image_std,
        "interpolation": _INTERPOLATIONS[images.resample],
        "resize_mode": mode,
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return parse(path.read_bytes())
    except (ValueError, OSError) as error:
        raise CraftZooError(f"{path} cannot be read ({error})") from None


def _checked(kind: type[BaseModel], about: dict[str, Any], where: str) -> Any:
    try:
        return check(kind, about)
    except ValueError as error:
        raise CraftZooError(f"open_clip cannot compute as {where} says: {error}") from None

"""Builds open_clip models with their weights, preprocessing and tokenizers."""

from __future__ import annotations

import json
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import open_clip
import torch
from torch import Tensor

from craft_zoo import mini
from craft_zoo.errors import CraftZooError, CraftZooWarning, needs_extra
from craft_zoo.logs import collected
from craft_zoo.openclip import transformers_models
from craft_zoo.openclip.checkpoint import load_weights, read_checkpoint
from craft_zoo.openclip.text import Model, Tokenizer
from craft_zoo.openclip.transformers_clip import (
    CONFIG,
    OPEN_CLIP_CONFIG,
    finder,
    has_transformers_names,
    model_type,
    open_clip_names,
    read_saved,
)
from craft_zoo.openclip.weights import ACTIVATIONS, PRECISIONS, Weights, find_weights

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Built(NamedTuple):
    """A model with its weights.

    Attributes:
        model: the model.
        preprocess: PIL image → tensor (3, H, W).
        tokenizer: texts → token ids (n, context_length).
        name: see :attr:`craft_zoo.blackbox.VLM.name`.
        files: the files on this machine that the name names.
    """

    model: Model
    preprocess: Callable[..., Tensor]
    tokenizer: Tokenizer
    name: str
    files: tuple[Path, ...] = ()


def pretrained_models() -> dict[str, tuple[str, ...]]:
    """Names of all models, each with the tags of its weights; ``craft-mini`` needs no tag."""
    models: dict[str, tuple[str, ...]] = {mini.NAME: ()}
    for name, tag in open_clip.list_pretrained():
        models[name] = (*models.get(name, ()), tag)
    return models


def build(model: str, pretrained: str | None, device: str | None, precision: str) -> Built:
    """Build a model; see :meth:`OpenCLIP.load`, also for what it raises."""
    target = _device(device)
    if precision not in PRECISIONS:
        raise CraftZooError(f"unknown precision {precision!r}: choose {', '.join(PRECISIONS)}")
    if model != mini.NAME and ":" not in model:
        weights = find_weights(model, pretrained)
        return _build_architecture(weights, str(pretrained), target, precision)
    if pretrained is not None:
        raise CraftZooError(f"{model} has weights of its own: leave out pretrained (--pretrained)")
    if model != mini.NAME:
        return _build_by_schema(model, target, precision)
    network, preprocess, tokenizer = mini.create()
    return Built(network.to(target, dtype=_DTYPES[precision]), preprocess, tokenizer, model)


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise CraftZooError(f"unknown device {name!r}: use cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise CraftZooError("no CUDA device is available here: use device='cpu' (--device cpu)")
    return device


def _build_architecture(
    weights: Weights, pretrained: str, device: torch.device, precision: str
) -> Built:
    """Build a model with its weights, with the settings in ``weights.settings``."""
    settings = weights.settings
    with _loading(weights.architecture, pretrained, precision) as messages:
        if weights.file is None:
            # The keyword reaches the model's constructor and overrides the architecture's setting.
            network, _, preprocess = open_clip.create_model_and_transforms(
                weights.architecture,
                weights.tag,
                device=device,
                precision=precision,
                force_quick_gelu=settings.quick_gelu,
                require_pretrained=True,
                **({} if settings.quick_gelu else {"quick_gelu": False}),
            )
        else:
            network, preprocess = _build_from_file(weights, device, precision, messages)
        tokenizer = open_clip.get_tokenizer(weights.architecture)
    files = (weights.file,) if weights.file else ()
    return Built(network, preprocess, tokenizer, weights.name, files)


def _build_from_file(
    weights: Weights, device: torch.device, precision: str, messages: list[str]
) -> tuple[Model, Callable[..., Tensor]]:
    file, settings = weights.file, weights.settings
    assert file is not None
    big_vision = file.suffix in (".npz", ".npy")
    checkpoint = None if big_vision else read_checkpoint(file)
    if checkpoint and has_transformers_names(checkpoint.weights):
        if (file.parent / CONFIG).exists():
            raise CraftZooError(
                f"its folder says how it is computed: open the folder, local-dir:{file.parent}"
            )
        checkpoint = checkpoint._replace(weights=open_clip_names(checkpoint.weights))
    shown = checkpoint.quick_gelu if checkpoint else None
    if shown is not None and weights.is_specified and shown != settings.quick_gelu:
        messages.append(
            f"{file} was saved from a model that computes with {ACTIVATIONS[shown]}, and "
            f"{weights.name} computes with {ACTIVATIONS[settings.quick_gelu]}, as was asked for"
        )
    elif shown is not None and not weights.is_specified:
        if weights.tag is not None and shown != settings.quick_gelu:
            raise CraftZooError(
                f"the file computes with {ACTIVATIONS[shown]}, and all of open_clip's weights for "
                f"{weights.architecture} with {ACTIVATIONS[settings.quick_gelu]}: say "
                f"quickgelu=True (--quickgelu) or quickgelu=False (--no-quickgelu)"
            )
        settings = settings._replace(quick_gelu=shown)
    unsure = [what for what in weights.unsure if shown is None or what != "activation"]
    if shown and not weights.is_specified:  # OpenAI's weights, whose settings are all known
        unsure = []
    if unsure:
        flags = "say quickgelu=True (--quickgelu) where it was trained so, as OpenAI's weights "
        flags += "were, quickgelu=False (--no-quickgelu) where it was not, or "
        messages.append(
            f"{file} does not specify its {' and '.join(unsure)}, in which weights for "
            f"{weights.architecture} differ, and is used with {settings.in_words(unsure)}: "
            f"{flags if 'activation' in unsure else ''}give "
            f"pretrained='TAG@FILE' (--pretrained TAG@FILE) to use it as "
            f"open_clip's weights TAG are"
        )
    network, _, preprocess = open_clip.create_model_and_transforms(
        weights.architecture,
        device=device,
        precision=precision,
        quick_gelu=settings.quick_gelu,
        pretrained_text=False,
        image_mean=settings.mean,
        image_std=settings.std,
        image_interpolation=settings.interpolation,
        image_resize_mode=settings.resize_mode,
    )
    if checkpoint is None:
        open_clip.load_checkpoint(network, str(file))
    else:
        messages += [f"{file}: {change}" for change in load_weights(network, checkpoint.weights)]
    return network, preprocess


def _build_by_schema(model: str, device: torch.device, precision: str) -> Built:
    """Build a model of the Hugging Face hub or of a local folder, with its own configuration."""
    with _loading(model, None, precision) as messages:
        find = finder(model)
        if find is None:
            network, _, preprocess = open_clip.create_model_and_transforms(
                model, device=device, precision=precision, require_pretrained=True
            )
            tokenizer = open_clip.get_tokenizer(model)
        elif (kind := model_type(find)) == "clip":
            with TemporaryDirectory() as folder:
                saved, source = read_saved(model, find), f"local-dir:{folder}"
                Path(folder, OPEN_CLIP_CONFIG).write_text(json.dumps(saved.config))
                network, _, preprocess = open_clip.create_model_and_transforms(
                    source, device=device, precision=precision
                )
                tokenizer = open_clip.get_tokenizer(source)
            messages += load_weights(network, saved.weights)
        else:
            network, preprocess, tokenizer = transformers_models.load(model, kind)
            network.to(device, dtype=_DTYPES[precision])
    return Built(network, preprocess, tokenizer, model.rstrip("/"), _files_of(model))


# Suffixes of a folder's weights, configuration and tokenizer.
_MODEL_FILES = (".safetensors", ".bin", ".pth", ".json", ".model", ".txt")


def _files_of(model: str) -> tuple[Path, ...]:
    """The files of the folder that a model's name names; none if it is a model of the hub."""
    schema, _, folder = model.partition(":")
    if schema != "local-dir":
        return ()
    return tuple(sorted(p for p in Path(folder).iterdir() if p.suffix in _MODEL_FILES))


# Expected warnings of open_clip, which are not passed on:
_EXPECTED = (
    "QuickGELU mismatch",  # decided by find_weights
    "No pretrained weights loaded",  # weights of a file are loaded afterwards
    "Local config loaded, but no CLIP weights found",  # those of transformers, too
)


@contextmanager
def _loading(model: str, pretrained: str | None, precision: str) -> Iterator[list[str]]:
    """Raise any failure as one CraftZooError, and pass on the warnings of libraries."""
    messages: list[str] = []
    try:
        with collected() as messages, needs_extra("transformers", f"the model {model}"):
            yield messages
    except Exception as error:  # open_clip, huggingface_hub and torch raise many types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        if "could not be loaded" in reason and messages:  # the cause was logged before
            reason = messages[0]
        if isinstance(error, CraftZooError):  # raised while reading the file, with a clear reason
            mend = "check that it is the file and the architecture that are meant"
        else:
            reason = textwrap.shorten(reason, 160, placeholder=" …")
            mend = "check that the file fits the architecture, or that this machine reaches the hub"
            if precision != "fp32":  # open_clip converts the parts of some models only
                mend += ", or use precision='fp32' (--precision fp32)"
        what = model if pretrained is None else f"{model} with weights {pretrained!r}"
        raise CraftZooError(f"model {what} cannot be loaded ({reason}): {mend}") from error
    for message in messages:
        if not message.startswith(_EXPECTED):
            warnings.warn(" ".join(message.split()), CraftZooWarning, stacklevel=2)

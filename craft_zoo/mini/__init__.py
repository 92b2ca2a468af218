"""craft-mini: a small CLIP model that is shipped with the package.

The model is in open_clip's format: an EfficientNet-Lite0 image tower and a causal text transformer
with CLIP's vocabulary, both with 512 output dimensions. `docs/craft-mini.md` describes its training
and its accuracy.

- `create`: the model, its preprocessing and its tokenizer, without a network
- `register`: registers the name with open_clip
- `state_dict`: the unpacked weights
- `export`: writes the weights as a plain open_clip checkpoint
- `config_path`: the open_clip model configuration
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from craft_zoo.logs import quiet

if TYPE_CHECKING:
    import open_clip
    import torch

NAME = "craft-mini"

__all__ = ["NAME", "config_path", "create", "export", "register", "state_dict", "weights_path"]


def config_path() -> Path:
    """Return the path of the model configuration, in open_clip's format."""
    return Path(__file__).with_name("craft-mini.json")


def weights_path() -> Path:
    """Return the path of the packed weights (see `craft_zoo.mini.packing`)."""
    return Path(__file__).with_name("craft-mini.safetensors")


def register() -> None:
    """Register `NAME` with open_clip's factory; a second call does nothing."""
    import open_clip

    if NAME not in open_clip.list_models():
        open_clip.add_model_config(config_path())


def state_dict() -> dict[str, torch.Tensor]:
    """Return open_clip's full state dict, with all 49,408 token embeddings and float32 values."""
    from safetensors.torch import load_file

    from craft_zoo.mini.packing import unpack

    return unpack(load_file(weights_path()))


def create() -> tuple[open_clip.CLIP, Callable[..., torch.Tensor], Any]:
    """Build the model offline.

    Returns the model in eval mode, the preprocessing of one PIL image, and the tokenizer.
    """
    import open_clip

    register()
    with quiet():  # open_clip warns of random weights, which are replaced below
        model, _, preprocess = open_clip.create_model_and_transforms(NAME)
    model.load_state_dict(state_dict(), strict=True)
    return model.eval(), preprocess, open_clip.get_tokenizer(NAME)


def export(path: str | Path) -> None:
    """Write a plain open_clip checkpoint, for ``open_clip.create_model(NAME, pretrained=path)``.

    `path` must end in ``.safetensors``, as open_clip chooses its reader by the suffix (ValueError
    otherwise). A process that loads the file must call `register` first.
    """
    from safetensors.torch import save_file

    if Path(path).suffix != ".safetensors":
        raise ValueError(f"a checkpoint's name must end in .safetensors, not {Path(path).name!r}")
    save_file(state_dict(), path)

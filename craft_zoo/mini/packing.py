"""Compression of CLIP weights: float16 matrices, int8 embeddings of the trained tokens only.

The packed file is a plain safetensors file. Vectors and scalars keep their type; matrices and
kernels are float16. The token embedding is stored as int8 rows with one float16 scale each, an
int32 index with the token of each row, and one float16 row for all other tokens.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from craft_zoo.files import write_atomically

EMBEDDING = "token_embedding.weight"


def pack(state: dict[str, Tensor], tokens: Tensor) -> dict[str, Tensor]:
    """Pack a CLIP state dict with the embeddings of `tokens` (1-D, token ids) only.

    All other tokens get the mean of these embeddings.
    """
    packed = {
        name: (
            tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
        ).contiguous()
        for name, tensor in state.items()
        if name != EMBEDDING
    }
    index = torch.unique(tokens)
    rows = state[EMBEDDING][index]
    scale = (rows.abs().amax(dim=1) / 127).clamp_min(1e-6).half()
    packed["token_embedding.index"] = index.int()
    packed["token_embedding.scale"] = scale
    packed["token_embedding.rows"] = (
        torch.round(rows / scale.float()[:, None]).clamp(-127, 127).to(torch.int8)
    )
    packed["token_embedding.other"] = rows.mean(dim=0).half()
    return packed


def unpack(packed: dict[str, Tensor], vocabulary: int = 49408) -> dict[str, Tensor]:
    """Rebuild the state dict that was given to `pack`, up to rounding, with float32 values."""
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in packed.items()
        if not name.startswith("token_embedding.")
    }
    rows = packed["token_embedding.rows"].float() * packed["token_embedding.scale"].float()[:, None]
    weight = packed["token_embedding.other"].float().repeat(vocabulary, 1)
    weight[packed["token_embedding.index"].long()] = rows
    state[EMBEDDING] = weight
    return state


def save(packed: dict[str, Tensor], path: Path) -> None:
    """Write `packed` to `path` atomically: a reader sees the old file or the new one."""
    from safetensors.torch import save as as_bytes

    write_atomically(path, as_bytes(packed))

"""Text towers with soft contexts.

Two encoders give the same features. :class:`CausalTextEncoder` computes only what can reach the
answer; :class:`ForwardTextEncoder` runs the model's own forward pass and so serves every tower.
:func:`text_encoder` chooses by what the tower is.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from craft_zoo.openclip.text.causal import CausalTextEncoder
from craft_zoo.openclip.text.encoder import ForwardTextEncoder, TextEncoder
from craft_zoo.openclip.text.tower import (
    Model,
    Tokenizer,
    end_positions,
    is_plainly_causal,
    shortened,
    text_tower,
    token_embedding,
    tokens_in_parts,
)
from craft_zoo.openclip.text.words import WordEncoder

__all__ = [
    "CausalTextEncoder",
    "ForwardTextEncoder",
    "Model",
    "TextEncoder",
    "Tokenizer",
    "WordEncoder",
    "end_positions",
    "is_plainly_causal",
    "shortened",
    "text_encoder",
    "text_tower",
    "token_embedding",
    "tokens_in_parts",
]


def text_encoder(
    model: Model,
    tokenizer: Tokenizer,
    classnames: Sequence[str],
    init: str,
    *,
    memory: int,
    compile: bool = False,
    tokens: Tensor | None = None,
) -> TextEncoder:
    """The fastest encoder that is right for the model's text tower.

    Arguments as for :class:`TextEncoder`.

    Raises:
        CraftZooError: a class name is too long, or merges with the initial words.
    """
    encoder = CausalTextEncoder if is_plainly_causal(model) else ForwardTextEncoder
    return encoder(
        model, tokenizer, classnames, init, memory=memory, compile=compile, tokens=tokens
    )

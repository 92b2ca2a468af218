"""Text encoders that accept contexts, that is, embeddings in place of the prompt's first words.

There are two encoders with equal features: :class:`CausalTextEncoder` is fast and needs a causal
text tower; :class:`ForwardTextEncoder` uses the model's own forward pass and supports every tower.
:func:`encoder_for` chooses one of them.
"""

from __future__ import annotations

from craft_zoo.openclip.text.causal import CausalTextEncoder
from craft_zoo.openclip.text.encoder import ForwardTextEncoder, TextEncoder
from craft_zoo.openclip.text.tower import (
    Model,
    Tokenizer,
    alone_with,
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
    "alone_with",
    "encoder_for",
    "shortened",
    "text_tower",
    "token_embedding",
    "tokens_in_parts",
]


def encoder_for(model: Model) -> type[TextEncoder]:
    """The class of the fastest encoder that supports the model's text tower."""
    return CausalTextEncoder if is_plainly_causal(model) else ForwardTextEncoder

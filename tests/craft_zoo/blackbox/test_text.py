"""Both text encoders give open_clip's own features, for towers of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_zoo.blackbox.text import CausalTextEncoder, TextEncoder, text_encoder
from craft_zoo.errors import CraftZooError

VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 3}
NAMES = ["cat", "annual crop land", "forklift truck", "zebra crossing", "x", "tram"]
INIT = "a photo of a"


def build(custom: bool = False, **text: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    kind = open_clip.model.CustomTextCLIP if custom else open_clip.CLIP
    model = kind(embed_dim=16, vision_cfg=VISION, text_cfg=TEXT | text).eval()
    for parameter in model.parameters():  # away from the tame initial values
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


TOKENIZER = open_clip.SimpleTokenizer(context_length=24)

TOWERS: dict[str, tuple[dict[str, Any], type[TextEncoder]]] = {
    "clip": ({}, CausalTextEncoder),
    "layer scale": ({"ls_init_value": 0.5}, CausalTextEncoder),
    "projection with bias": ({"proj_bias": True}, CausalTextEncoder),
    "end of text by id": (
        {"pool_type": "eos", "eos_id": 49407},
        CausalTextEncoder,
    ),
    "in a module of its own": ({"custom": True}, CausalTextEncoder),
    "not causal": ({"custom": True, "no_causal_mask": True}, TextEncoder),
    "last position": ({"custom": True, "pool_type": "last"}, TextEncoder),
    "class token": ({"custom": True, "embed_cls": True}, TextEncoder),
    "another block": ({"custom": True, "qk_norm": True}, TextEncoder),
}


@pytest.mark.parametrize("kind", TOWERS)
def test_the_initial_context_gives_encode_text(kind: str) -> None:
    options, expected_type = TOWERS[kind]
    model = build(**options)
    encoder = text_encoder(model, TOKENIZER, NAMES, INIT)
    assert type(encoder) is expected_type
    with torch.inference_mode():
        tokens = TOKENIZER([f"{INIT} {name}." for name in NAMES])
        expected = model.encode_text(tokens, normalize=True)
    assert torch.allclose(encoder(encoder.initial_context[None])[0], expected, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(0.01, 3),
    n_contexts=st.integers(1, 5),
    n_words=st.lists(st.integers(1, 4), min_size=1, max_size=7),
    init=st.sampled_from(["a photo of a", "x", "a blurry picture of one more"]),
    kind=st.sampled_from([k for k, (_, t) in TOWERS.items() if t is CausalTextEncoder]),
    block_floats=st.sampled_from([1, 3000, 10**8]),
)
def test_the_causal_encoder_agrees_with_the_models_own_pass(
    seed: int,
    scale: float,
    n_contexts: int,
    n_words: list[int],
    init: str,
    kind: str,
    block_floats: int,
) -> None:
    model = build(**TOWERS[kind][0])
    rng = np.random.default_rng(seed)
    words = ["river", "ox", "industrial", "tabby", "sea"]
    names = [" ".join(rng.choice(words, n)) for n in n_words]
    slow = TextEncoder(model, TOKENIZER, names, init)
    fast = CausalTextEncoder(model, TOKENIZER, names, init)
    shape = (n_contexts, *slow.initial_context.shape)
    contexts = torch.from_numpy(scale * rng.standard_normal(shape)).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("craft_zoo.blackbox.text._BLOCK_FLOATS", block_floats)
        assert torch.allclose(fast(contexts), slow(contexts), atol=1e-5)


def test_names_beyond_the_context_length_are_refused() -> None:
    with pytest.raises(CraftZooError, match="longer than the model's 24 tokens: shorten"):
        text_encoder(build(), TOKENIZER, ["cat", "very " * 30 + "long"], INIT)


def test_empty_initial_words_are_refused() -> None:
    with pytest.raises(CraftZooError, match="initial words are empty"):
        text_encoder(build(), TOKENIZER, NAMES, "")

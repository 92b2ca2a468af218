"""Both text encoders give open_clip's own features, for all kinds of towers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import open_clip
import pytest
import tokenizers
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_zoo import mini
from craft_zoo.benchmarks.speed.naive import NaiveScorer
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import OpenCLIP
from craft_zoo.openclip.text import (
    CausalTextEncoder,
    ForwardTextEncoder,
    TextEncoder,
    WordEncoder,
    encoder_for,
)
from craft_zoo.openclip.text.tower import tokens_of

VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 3}
WORDS = ["river", "ox", "industrial", "tabby", "sea", "forklift", "chrysanthemum"]
NAMES = ["cat", "annual crop land", "forklift truck", "zebra crossing", "x", "tram"]
INIT = "a photo of a"
MEGABYTES = [10_000, 10**6, 10**9]  # a name at a time, some, all


def build(
    custom: bool = False, embed_dim: int = 16, quick_gelu: bool = False, **text: Any
) -> torch.nn.Module:
    torch.manual_seed(0)
    kind = open_clip.model.CustomTextCLIP if custom else open_clip.CLIP
    model = kind(embed_dim, vision_cfg=VISION, text_cfg=TEXT | text, quick_gelu=quick_gelu).eval()
    for parameter in model.parameters():  # away from the tame initial values
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


TOKENIZER = open_clip.SimpleTokenizer(context_length=24)

TOWERS: dict[str, tuple[dict[str, Any], type[TextEncoder]]] = {
    "clip": ({}, CausalTextEncoder),
    "one layer": ({"layers": 1}, CausalTextEncoder),
    "quick gelu": ({"quick_gelu": True}, CausalTextEncoder),
    "layer scale": ({"ls_init_value": 0.5}, CausalTextEncoder),
    "projection with bias": ({"proj_bias": True}, CausalTextEncoder),
    "end of text by id": ({"pool_type": "eos", "eos_id": 49407}, CausalTextEncoder),
    "in a module of its own": ({"custom": True}, CausalTextEncoder),
    "not causal": ({"custom": True, "no_causal_mask": True}, ForwardTextEncoder),
    "last position": ({"custom": True, "pool_type": "last"}, ForwardTextEncoder),
    "class token": ({"custom": True, "embed_cls": True}, ForwardTextEncoder),
    "another block": ({"custom": True, "qk_norm": True}, ForwardTextEncoder),
}


def text_encoder(model: Any, *given: Any, **options: Any) -> TextEncoder:
    return encoder_for(model)(model, *given, **options)


def features(encoder: TextEncoder, contexts: torch.Tensor) -> torch.Tensor:
    return torch.stack(list(encoder(contexts)))


@torch.inference_mode()
def own_features(model: Any, tokenizer: Any) -> torch.Tensor:
    """open_clip's features of the initial words with each name."""
    return model.encode_text(tokenizer([f"{INIT} {name}." for name in NAMES]), normalize=True)


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize("memory", MEGABYTES)
def test_the_initial_context_gives_encode_text(kind: str, memory: int) -> None:
    options, expected_type = TOWERS[kind]
    model = build(**options)
    encoder = text_encoder(model, TOKENIZER, NAMES, INIT, memory=memory)
    assert type(encoder) is expected_type
    expected = own_features(model, TOKENIZER)
    encoded = features(encoder, encoder.initial_context.repeat(3, 1, 1))
    assert torch.allclose(encoded, expected.expand(3, -1, -1), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(0.01, 3),
    n_contexts=st.integers(1, 5),
    n_words=st.lists(st.integers(1, 4), min_size=1, max_size=7),
    init=st.sampled_from(["a photo of a", "x", "a blurry picture of one more"]),
    kind=st.sampled_from([k for k, (_, t) in TOWERS.items() if t is CausalTextEncoder]),
    memory=st.sampled_from(MEGABYTES),
    own=st.booleans(),
)
def test_the_causal_encoder_agrees_with_the_models_own_pass(
    seed: int,
    scale: float,
    n_contexts: int,
    n_words: list[int],
    init: str,
    kind: str,
    memory: int,
    own: bool,
) -> None:
    """Whether the classes share a context or each has its own."""
    model = build(**TOWERS[kind][0])
    rng = np.random.default_rng(seed)
    names = [" ".join(rng.choice(WORDS[:5], n)) for n in n_words]
    slow = ForwardTextEncoder(model, TOKENIZER, names, init, memory=memory)
    fast = CausalTextEncoder(model, TOKENIZER, names, init, memory=memory)
    shape = (n_contexts, *([len(names)] if own else []), *slow.initial_context.shape)
    contexts = torch.from_numpy(scale * rng.standard_normal(shape)).float()
    encoded = features(fast, contexts)
    assert torch.allclose(encoded, features(slow, contexts), atol=1e-5)
    if own:  # as if the last class's were the only one
        assert torch.allclose(features(slow, contexts[:, -1])[:, -1], encoded[:, -1], atol=1e-5)


def test_a_tower_without_a_start_token() -> None:
    def tokenizer(texts: Sequence[str]) -> torch.Tensor:
        return torch.nn.functional.pad(TOKENIZER(texts)[:, 1:], (0, 1))

    model = build()
    engine = CausalTextEncoder(model, tokenizer, NAMES, INIT, memory=10**9)
    assert engine.start == 0
    expected = own_features(model, tokenizer)
    encoded = features(engine, engine.initial_context.repeat(2, 1, 1))
    assert torch.allclose(encoded, expected.expand(2, -1, -1), atol=1e-6)


PIECES = ["▁", "</s>", "▁photo", "▁of", "▁cat", "▁crop", "photo", "of", "cat", ",", "."]
TOKENIZERS = {  # how a text begins, and whether each letter has a piece behind a space
    "T5": ("▁", False),
    "mT5": ("▁", True),
    "Gemma": ("", True),
    "RoBERTa": ("<s>", True),
}


def sentence_pieces(kind: str, padding_side: str = "right") -> Any:
    """A tokenizer as Hugging Face's text towers have it."""
    begin, has_letters = TOKENIZERS[kind]
    letters = [*ascii_lowercase, *"0123456789"]
    pieces = PIECES + letters + ([f"▁{letter}" for letter in letters] if has_letters else [])
    vocabulary = [(piece, -float(len(pieces)) / len(piece)) for piece in ["<pad>", "<s>", *pieces]]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary, unk_id=0))
    scheme = "always" if begin == "▁" else "never"
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{begin.replace('▁', '')} $A </s>".strip(), special_tokens=[("<s>", 1), ("</s>", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", padding_side=padding_side
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: fast)
        return open_clip.tokenizer.HFTokenizer(
            kind, context_length=TEXT["context_length"], clean="canonicalize"
        )


def text_model(folder: Path, kind: str) -> torch.nn.Module:
    """SigLIP's text tower, or RoBERTa."""
    if kind != "RoBERTa":
        return build(custom=True, no_causal_mask=True, pool_type="last", proj_bias=True)
    transformers.RobertaConfig(
        vocab_size=200, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=40, pad_token_id=0,
    ).save_pretrained(folder)  # fmt: skip
    return build(custom=True, hf_model_name=str(folder), hf_model_pretrained=False)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_towers_with_tokenizers_of_hugging_face(kind: str, tmp_path: Path) -> None:
    """A word's tokens differ between the beginning of a text and its middle, or begin alike."""
    model, tokenizer = text_model(tmp_path, kind), sentence_pieces(kind)
    names = ["cat", "crop", "x", "7", "cat of crop"]
    for init in (INIT, "photo", "7 cat"):
        with torch.inference_mode():
            expected = model.encode_text(tokenizer([f"{init} {name}." for name in names]), True)
        encoder = text_encoder(model, tokenizer, names, init, memory=10**9)
        assert len(encoder.initial_context) >= len(init.split())
        encoded = features(encoder, encoder.initial_context[None])[0]
        assert torch.allclose(encoded, expected, atol=1e-5)
        moved = features(encoder, torch.randn(1, *encoder.initial_context.shape))[0]
        assert not torch.allclose(moved, expected, atol=1e-2)


def test_tokenizers_that_leave_no_place_for_a_context(tmp_path: Path) -> None:
    model = text_model(tmp_path, "Gemma")
    left = sentence_pieces("Gemma", padding_side="left")
    with pytest.raises(CraftZooError, match="'a photo of a' no tokens at the beginning of a text"):
        text_encoder(model, left, NAMES, INIT, memory=10**9)
    with pytest.raises(CraftZooError, match=r"'!' no tokens .*: begin the prompt with other"):
        text_encoder(model, sentence_pieces("Gemma"), NAMES, "!", memory=10**9)


@pytest.fixture(
    scope="module",
    params=[
        "RN50",
        "craft-mini",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("ViT-B-32-quickgelu", "ViT-L-14")
        ),
    ],
)
def real_architecture(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, Any]:
    """The text tower of a published architecture, with random weights, and its tokenizer."""
    if request.param == mini.NAME:
        model, _, tokenizer = mini.create()
        return model, tokenizer
    config = open_clip.get_model_config(request.param)
    model = build(
        embed_dim=config["embed_dim"],
        quick_gelu=config.get("quick_gelu", False),
        **config["text_cfg"],
    )
    return model, open_clip.get_tokenizer(request.param)


def test_logits_of_real_architectures_agree_with_the_naive_way(
    real_architecture: tuple[torch.nn.Module, Any],
) -> None:
    """To 1e-4 of the logit scale, for contexts, class names and blocks of all sizes."""
    model, tokenizer = real_architecture

    @settings(max_examples=3, deadline=None)
    @given(
        seed=st.integers(0, 10**6),
        scale=st.floats(0.1, 5),
        n_contexts=st.integers(1, 4),
        n_words=st.lists(st.integers(1, 6), min_size=2, max_size=7),
        memory=st.sampled_from([10**5, 10**6, 10**9]),
    )
    def check(seed: int, scale: float, n_contexts: int, n_words: list[int], memory: int) -> None:
        rng = np.random.default_rng(seed)
        names = [" ".join(rng.choice(WORDS, n)) for n in n_words]
        naive = NaiveScorer(model, tokenizer, names)
        engine = CausalTextEncoder(model, tokenizer, names, INIT, memory=memory)
        start = naive.initial_context
        assert torch.equal(start, engine.initial_context)
        noise = torch.from_numpy(rng.standard_normal((n_contexts, *start.shape))).float()
        contexts = start + scale * start.std() * noise
        encoded = features(engine, contexts)
        images = torch.from_numpy(rng.standard_normal((20, encoded.shape[-1]))).float()
        images = torch.nn.functional.normalize(images, dim=-1)
        expected = torch.stack([naive(context) for context in contexts])
        # Logits are these cosines times the logit scale.
        assert (images @ (encoded - expected).mT).abs().max() < 1e-4
        assert (images @ encoded.mT).std() > 1e-3  # it is not that all of them are 0

    check()


@pytest.mark.slow
def test_a_compiled_tower_gives_the_same() -> None:
    plain = CausalTextEncoder(build(), TOKENIZER, NAMES, INIT, memory=10**9)
    compiled = CausalTextEncoder(build(), TOKENIZER, NAMES, INIT, memory=10**9, compile=True)
    contexts = plain.initial_context + 0.1 * torch.randn(3, *plain.initial_context.shape)
    assert torch.allclose(features(compiled, contexts), features(plain, contexts), atol=1e-5)


def test_names_beyond_the_context_length_are_refused() -> None:
    with pytest.raises(CraftZooError, match="longer than the model's 24 tokens: shorten"):
        text_encoder(build(), TOKENIZER, ["cat", "very " * 30 + "long"], INIT, memory=10**9)


@pytest.mark.parametrize(
    ("init", "complaint"),
    [
        ("", "the prompt is empty: give words"),
        ("{} texture.", "'{} texture.' has no words before the class name, where a context would"),
        ("a {} of a {}.", r"more than one \{\}"),
    ],
)
def test_prompts_that_no_context_can_stand_for(init: str, complaint: str) -> None:
    with pytest.raises(CraftZooError, match=complaint):
        text_encoder(build(), TOKENIZER, NAMES, init, memory=10**9)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from([k for k, (_, t) in TOWERS.items() if t is CausalTextEncoder]),
    label_sets=st.lists(
        st.tuples(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(1, 3)),
        min_size=1,
        max_size=4,
    ),
    memory=st.sampled_from(MEGABYTES),
    own=st.booleans(),
)
def test_label_sets_together_have_the_features_that_they_have_alone(
    seed: int,
    kind: str,
    label_sets: list[tuple[list[int], int]],
    memory: int,
    own: bool,
) -> None:
    model = build(**TOWERS[kind][0])
    rng = np.random.default_rng(seed)
    asked = []
    for n_words, n_contexts in label_sets:
        names = [" ".join(rng.choice(WORDS[:5], n)) for n in n_words]
        encoder = CausalTextEncoder(model, TOKENIZER, names, INIT, memory=memory)
        shape = (n_contexts, *([len(names)] if own else []), *encoder.initial_context.shape)
        asked.append((encoder, torch.from_numpy(rng.standard_normal(shape)).float()))
    assert len({encoder.batching_key() for encoder, _ in asked}) == 1
    together = asked[0][0].together(asked)
    for (encoder, contexts), encoded in zip(asked, together, strict=True):
        assert torch.allclose(encoded, features(encoder, contexts), atol=1e-5)


def test_what_does_not_go_together_is_of_another_kind() -> None:
    model, other, towers = build(), build(), build(**TOWERS["not causal"][0])

    def kind(model: Any, init: str = INIT, **options: Any) -> Any:
        return text_encoder(model, TOKENIZER, NAMES, init, memory=10**9, **options).batching_key()

    assert kind(model) == kind(model, "an image of one") is not None
    assert len({kind(model), kind(other), kind(model, "a photo")}) == 3
    assert kind(towers) is kind(model, compile=True) is None
    encoder = text_encoder(towers, TOKENIZER, NAMES, INIT, memory=10**9)
    contexts = encoder.initial_context.repeat(2, 1, 1)
    (encoded,) = encoder.together([(encoder, contexts)])
    assert torch.equal(encoded, features(encoder, contexts))


def tensors(thing: Any, seen: set[int]) -> int:
    """Total bytes of the tensors in an object, without those of a model."""
    if id(thing) in seen or isinstance(thing, torch.nn.Module):
        return 0
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        storage = thing.untyped_storage()
        known = storage.data_ptr() in seen  # of a view
        seen.add(storage.data_ptr())
        return 0 if known else storage.nbytes()
    if isinstance(thing, list | tuple):
        return sum(tensors(each, seen) for each in thing)
    if isinstance(thing, dict):
        return sum(tensors(each, seen) for each in thing.values())
    return tensors(vars(thing), seen) if hasattr(thing, "__dict__") else 0


def test_large_label_sets_hold_token_ids_and_give_the_same_logits(
    vlm: OpenCLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"thing {number} of {number % 7}" for number in range(200)]
    images = vlm.images([np.full((8, 8, 3), shade, np.uint8) for shade in (0, 99, 255)])
    small = vlm.classifier(names)
    monkeypatch.setattr("craft_zoo.openclip.text.causal._KEPT_BYTES", 0)
    large = vlm.classifier(names)
    contexts = np.stack([small.initial_context, small.initial_context + 0.01])
    many = np.repeat(contexts[:, None], len(names), axis=1)
    for prompts in (contexts, many):  # one context for all classes, or each its own
        for one, other in zip(
            small.logits(prompts, images), large.logits(prompts, images), strict=True
        ):
            assert np.array_equal(one, other)
    assert 10 * large.held_bytes < small.held_bytes
    for box in (small, large):
        own = {each.untyped_storage().data_ptr() for each in vlm._model.parameters()}
        held = tensors(box._encoder, own)
        assert held <= box.held_bytes <= 1.2 * held + 10_000


def test_names_are_opened_in_parts(vlm: OpenCLIP) -> None:
    names = [f"thing {number}" for number in range(200)]
    opening, parts = vlm.opening(names), 0
    while True:
        try:
            next(opening)
        except StopIteration as end:
            box = end.value
            break
        parts += 1
    assert parts == 3  # of 64 names each but the last
    assert box.classnames == tuple(names)
    assert np.array_equal(box.initial_context, vlm.classifier(names).initial_context)


def test_words_together_have_the_features_that_they_have_alone() -> None:
    model = build()
    first = WordEncoder(model, TOKENIZER, NAMES, memory=10**9)
    second = WordEncoder(model, TOKENIZER, ["x", "river", "cat"], memory=10**9)
    asked = [
        (first, ["a photo of a {}.", "{}"]),
        (second, [("a {}", "the {}!", "{}"), "{}"]),  # "cat" is encoded once
    ]
    for (encoder, templates), encoded in zip(asked, first.together(asked), strict=True):
        assert torch.allclose(encoded, torch.stack(list(encoder(templates))), atol=1e-6)


def test_words_of_one_template_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    encoder = WordEncoder(model, TOKENIZER, NAMES, memory=10**9)
    calls: list[int] = []
    encode = model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda *a: calls.append(1) or encode(*a))
    first, again = next(encoder(["a {}"])), next(encoder(["a {}"]))
    assert calls == [1]
    assert torch.equal(first, again)
    assert not torch.equal(next(encoder(["the {}"])), first)
    assert torch.equal(next(encoder(["a {}"])), first)
    assert len(calls) == 3


@pytest.mark.parametrize("kind", TOWERS)
def test_a_prompt_of_exactly_the_context_length(kind: str) -> None:
    """Start, "a photo of a", 17 words, full stop and end are 24 tokens; one more is refused."""
    options, _ = TOWERS[kind]
    model = build(**options)
    names = ["cat " * 16 + "dog", "cat " * 15 + "dog", "cat"]
    prompts = [f"{INIT} {name}." for name in names]
    with torch.inference_mode():
        expected = model.encode_text(TOKENIZER(prompts), normalize=True)
    assert TOKENIZER(prompts)[0, -1] == TOKENIZER.eot_token_id
    encoder = text_encoder(model, TOKENIZER, names, INIT, memory=10**9)
    assert torch.allclose(features(encoder, encoder.initial_context[None])[0], expected, atol=1e-6)
    words = WordEncoder(model, TOKENIZER, names, memory=10**9)
    assert torch.allclose(next(words(["a photo of a {}."])), expected, atol=1e-6)
    longer = ["cat", "cat " * 17 + "dog"]
    with pytest.raises(CraftZooError, match="longer than the model's 24 tokens: shorten"):
        text_encoder(model, TOKENIZER, longer, INIT, memory=10**9)
    with pytest.raises(CraftZooError, match="longer than the model's 24 tokens: shorten"):
        list(WordEncoder(model, TOKENIZER, longer, memory=10**9)(["a photo of a {}."]))


class WithoutEnds:
    """A tokenizer of words without start and end tokens, as SigLIP's, with another padding."""

    def __call__(self, texts: Sequence[str], context_length: int = 6) -> torch.Tensor:
        rows = [[100 + len(word) for word in text.split()][:context_length] for text in texts]
        return torch.tensor([row + [1] * (context_length - len(row)) for row in rows])


@settings(max_examples=50, deadline=None)
@given(words=st.lists(st.integers(1, 9).map("x".__mul__), min_size=1, max_size=9))
def test_prompts_are_refused_only_where_they_are_too_long(words: list[str]) -> None:
    prompt = " ".join(words)
    if len(words) <= 6:
        assert torch.equal(tokens_of(WithoutEnds(), [prompt]), WithoutEnds()([prompt]))
    else:
        with pytest.raises(CraftZooError, match="longer than the model's 6 tokens"):
            tokens_of(WithoutEnds(), [prompt])

"""Distillation: the fast text encoding equals the model's own, and training reduces the loss."""

import open_clip
import pytest
import torch
from torch.nn import functional as F

from craft_zoo import mini
from craft_zoo.mini.training.distill import Settings, Texts, encode, is_text, train

PHRASES = ["a dog", "a photo of a sailing boat.", "okapi", "the plastic okapi."]


@pytest.fixture
def model():
    mini.register()
    return open_clip.create_model(mini.NAME).eval()


def test_short_pass_equals_encode_text(model):
    texts = Texts(PHRASES)
    ids, last = texts.batch(torch.arange(4).numpy())
    ours = encode(model, texts.tokens[ids], last)
    theirs = model.encode_text(open_clip.get_tokenizer(mini.NAME)(PHRASES), normalize=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_long_text_is_cut_to_the_context():
    assert Texts(["boat " * 100]).lengths.tolist() == [77]


def test_training_learns_and_leaves_the_image_tower_alone(model):
    generator = torch.Generator().manual_seed(0)
    targets = F.normalize(torch.randn(4, 512, generator=generator), dim=1)
    texts = Texts(PHRASES)
    image = {n: t.clone() for n, t in model.state_dict().items() if not is_text(n)}
    ids, last = texts.batch(torch.arange(4).numpy())
    before = (encode(model, texts.tokens[ids], last) * targets).sum(dim=1).mean()
    epochs: list[int] = []
    settings = Settings(epochs=5, batch=2, rate=1e-3, warmup=1)
    train(model, texts, targets, targets, settings, epochs.append)
    after = (encode(model, ids, last) * targets).sum(dim=1).mean()
    assert after > before + 0.1
    assert epochs == [1, 2, 3, 4, 5]
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in image.items())

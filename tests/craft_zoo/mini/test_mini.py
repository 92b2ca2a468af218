"""craft-mini: complete, usable offline, and in open_clip's format."""

import inspect
import json
import math
import os
import socket
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from craft_zoo import mini

SHARED = Path(
    os.environ.get("CRAFT_ZOO_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")
)


@pytest.fixture(scope="module")
def created():
    return inspect.unwrap(mini.create)()


@pytest.fixture(scope="module")
def model(created):
    return created[0]


@pytest.fixture(scope="module")
def tokenizer(created):
    return created[2]


def test_created_without_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    model, _, _ = inspect.unwrap(mini.create)()
    assert isinstance(model, open_clip.CLIP)
    assert not model.training


def test_creation_is_silent(caplog):
    inspect.unwrap(mini.create)()
    assert not caplog.records


def test_weights_fit_the_repository():
    assert mini.weights_path().stat().st_size <= 30_000_000


def test_state_dict_is_complete_and_finite(model):
    state = mini.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert {t.dtype for t in state.values()} == {torch.float32, torch.int64}
    assert state["token_embedding.weight"].shape == (49408, 256)


def test_logit_scale_is_the_calibrated_one(model):
    assert model.logit_scale.item() == pytest.approx(math.log(25), abs=1e-3)


def test_embeddings_have_512_dimensions_and_unit_length(model, tokenizer):
    texts = model.encode_text(tokenizer(["a photo of a dog.", "a boat"]), normalize=True)
    images = model.encode_image(torch.zeros(1, 3, 224, 224), normalize=True)
    assert texts.shape == (2, 512)
    assert images.shape == (1, 512)
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(images.norm(dim=1), torch.ones(1))


def test_tokenizer_is_clips(tokenizer):
    texts = ["a photo of a schooner.", "Annual Crop Land", "éclair, 3½"]
    assert torch.equal(tokenizer(texts), open_clip.get_tokenizer("ViT-B-32")(texts))


def test_preprocessing_is_clips(created):
    model, preprocess, _ = created
    grey = preprocess(Image.new("L", (300, 200), 128))
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN)
    deviation = torch.tensor(open_clip.OPENAI_DATASET_STD)
    assert grey.shape == (3, 224, 224)
    torch.testing.assert_close(grey[:, 0, 0], (128 / 255 - mean) / deviation)
    assert model.visual.preprocess_cfg["size"] == (224, 224)


def test_what_follows_the_end_of_a_text_changes_nothing(model, tokenizer):
    tokens = tokenizer(["a photo of a dog."])
    end = int(tokens.argmax())
    tokens[0, end + 1 :] = 1000
    clean = model.encode_text(tokenizer(["a photo of a dog."]))
    torch.testing.assert_close(model.encode_text(tokens), clean)


def test_contexts_change_the_embedding(model, tokenizer):
    texts = model.encode_text(tokenizer(["a photo of a dog.", "an aerial view of a dog."]), True)
    assert texts[0] @ texts[1] < 0.999


def test_nearby_words_are_nearer(model, tokenizer):
    names = ["dog", "puppy", "sailing boat"]
    dog, puppy, boat = model.encode_text(tokenizer([f"a photo of a {n}." for n in names]), True)
    assert dog @ puppy > dog @ boat + 0.2


def test_export_loads_with_open_clip_alone(tmp_path, model, tokenizer):
    path = tmp_path / "plain.safetensors"
    mini.export(path)
    mini.register()
    plain, _, _ = open_clip.create_model_and_transforms(mini.NAME, pretrained=str(path))
    for name, tensor in model.state_dict().items():
        assert torch.equal(plain.state_dict()[name], tensor), name
    tokens = tokenizer(["a photo of a dog."])
    torch.testing.assert_close(plain.eval().encode_text(tokens), model.encode_text(tokens))


def test_export_refuses_a_pickle(tmp_path):
    with pytest.raises(ValueError, match=r"safetensors, not 'plain\.pt'"):
        mini.export(tmp_path / "plain.pt")


def test_registering_twice_adds_one_name():
    mini.register()
    mini.register()
    assert open_clip.list_models().count(mini.NAME) == 1
    config = open_clip.get_model_config(mini.NAME)
    assert config == json.loads(mini.config_path().read_text())


@pytest.mark.skipif(not (SHARED / "caltech101").is_dir(), reason="no shared Caltech101")
def test_zero_shot_on_every_ninth_image_of_caltech101():
    from craft_zoo.mini.training.evaluate import FIRST, folder, zero_shot

    names, images, labels = folder(SHARED / "caltech101" / "test")
    cosines = zero_shot(names, images[::9], FIRST)
    assert (cosines.argmax(dim=1) == torch.tensor(labels[::9])).float().mean() >= 0.45

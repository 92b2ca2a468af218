"""Writes tiny published data sets in their layouts: 3 training and 2 test images a class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

N_TRAIN, N_VAL, N_TEST = 3, 2, 2

_COLOURS = np.random.default_rng(0).integers(40, 215, (10, 3))
_Entry = tuple[str, int, str]

_IMAGENET = {"n01440764": "tench", "n03773504": "missile", "n04008634": "missile"}


def write_published(root: Path) -> None:
    """Write every data set under ``root``."""
    _write_imagenet(root)
    _write_splits(root)
    _write_aircraft(root)
    _write_cifar(root)
    _write_svhn(root)


def pixels(label: int, number: int, shape: tuple[int, int] = (40, 48)) -> np.ndarray:
    """A noisy image of the class's colour, (H, W, 3) uint8."""
    rng = np.random.default_rng([label, number])
    noisy = _COLOURS[label] + rng.integers(-40, 41, (*shape, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def _save(path: Path, label: int, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(label, number)).save(path)


def _write_imagenet(root: Path) -> None:
    lines = "".join(f"{class_id} {words}\n" for class_id, words in _IMAGENET.items())
    folder = root / "imagenet"
    folder.mkdir(parents=True)
    (folder / "classnames.txt").write_text(lines)
    ids = list(_IMAGENET)
    for label, class_id in enumerate(ids):
        for number in range(N_TRAIN):
            name = f"{class_id}_{number}.JPEG"
            _save(folder / "images" / "train" / class_id / name, label, number)
        for number in range(N_TEST):
            name = f"ILSVRC2012_val_{label}{number:07}.JPEG"
            _save(folder / "images" / "val" / class_id / name, label, 10 + number)
    v2 = root / "imagenetv2" / "imagenetv2-matched-frequency-format-val"
    shifts = [(v2, {str(label): label for label in range(3)})]
    shifts.append((root / "imagenet-sketch" / "images", {ids[label]: label for label in range(3)}))
    part = {ids[label]: label for label in (0, 2)}
    for shift, letter in (("adversarial", "a"), ("rendition", "r")):
        images = root / f"imagenet-{shift}" / f"imagenet-{letter}"
        images.mkdir(parents=True)
        (images / "README.txt").write_text("not an image\n")
        shifts.append((images, part))
    for images, classes in shifts:
        for name, label in classes.items():
            for number in range(N_TEST):
                _save(images / name / f"{number:04}.jpeg", label, 20 + number)
    # One shift has its own copy, as in CoOp's layout; the others use ImageNet's.
    (v2.parent / "classnames.txt").write_text(lines)


def _write_splits(root: Path) -> None:
    _split(
        root / "caltech-101",
        "101_ObjectCategories",
        "split_zhou_Caltech101.json",
        {"face": "Faces", "leopard": "Leopards", "yin_yang": "yin_yang"},
        "{folder}/image_{number:04}.jpg",
    )
    _split(
        root / "oxford_pets",
        "images",
        "split_zhou_OxfordPets.json",
        {name: name for name in ("abyssinian", "american_bulldog", "yorkshire_terrier")},
        "{folder}_{number}.jpg",
    )
    _split(
        root / "stanford_cars",
        "",
        "split_zhou_StanfordCars.json",
        {
            "2000 AM General Hummer SUV": "",
            "2012 Acura RL Sedan": "",
            "2012 smart fortwo Convertible": "",
        },
        "cars_{half}/{label}{number:04}.jpg",
    )
    _split(
        root / "oxford_flowers",
        "jpg",
        "split_zhou_OxfordFlowers.json",
        {"pink primrose": "", "hard-leaved pocket orchid": "", "canterbury bells": ""},
        "image_{label}{number:04}.jpg",
    )
    _split(
        root / "food-101",
        "images",
        "split_zhou_Food101.json",
        {name: name for name in ("apple_pie", "baby_back_ribs", "waffles")},
        "{folder}/10{number:05}.jpg",
    )
    _split(
        root / "sun397",
        "SUN397",
        "split_zhou_SUN397.json",
        {"abbey": "a/abbey", "indoor airport": "a/airport/indoor", "youth_hostel": "y/hostel"},
        "{folder}/sun_{number:04}.jpg",
    )
    _split(
        root / "dtd",
        "images",
        "split_zhou_DescribableTextures.json",
        {name: name for name in ("banded", "polka-dotted", "zigzagged")},
        "{folder}/{folder}_{number:04}.jpg",
    )
    _split(
        root / "eurosat",
        "2750",
        "split_zhou_EuroSAT.json",
        {"Annual Crop Land": "AnnualCrop", "Forest": "Forest", "Sea or Lake": "SeaLake"},
        "{folder}/{folder}_{number}.jpg",
    )
    _split(
        root / "ucf101",
        "UCF-101-midframes",
        "split_zhou_UCF101.json",
        {name: name for name in ("Apply_Eye_Makeup", "Archery", "Yo_Yo")},
        "{folder}/v_{label}_g08_c{number:02}.jpg",
    )
    _split(
        root / "resisc45",
        "NWPU-RESISC45",
        "split_mlai_Resisc45.json",
        {name: name for name in ("airplane", "baseball_diamond", "wetland")},
        "{folder}/{folder}_{number:03}.jpg",
    )
    _split(
        root / "CLEVR_v1.0",
        "images",
        "split_mlai_CLEVR.json",
        dict.fromkeys(("10", "3", "4"), ""),
        "{scenes}/CLEVR_{scenes}_{label}{number:05}.png",
    )


def _split(folder: Path, images: str, file_name: str, classes: dict[str, str], form: str) -> None:
    """Write a split file in CoOp's format, with shuffled entries, and the images."""
    rng = np.random.default_rng(len(file_name))
    split: dict[str, list[_Entry]] = {}
    first = 1
    for part, count in (("train", N_TRAIN), ("val", N_VAL), ("test", N_TEST)):
        entries = [
            (
                form.format(
                    folder=place,
                    label=label,
                    number=first + number,
                    half="test" if part == "test" else "train",
                    scenes="val" if part == "test" else "train",  # CLEVR has no public test
                ),
                label,
                name,
            )
            for label, (name, place) in enumerate(classes.items())
            for number in range(count)
        ]
        for path, label, _ in entries:
            _save(folder / images / path, label, len(path) + first)
        split[part] = [entries[i] for i in rng.permutation(len(entries))]
        first += count
    (folder / file_name).write_text(json.dumps(split, indent=4))


def _write_aircraft(root: Path) -> None:
    folder = root / "fgvc_aircraft"
    variants = ["707-320", "Boeing 717", "F/A-18"]
    folder.mkdir()
    (folder / "variants.txt").write_text("".join(f"{variant}\n" for variant in variants))
    image = 34309
    for part, count in (("train", N_TRAIN), ("val", N_VAL), ("test", N_TEST)):
        lines = []
        for number in range(count):
            for label, variant in enumerate(variants):
                image += 7
                _save(folder / "images" / f"{image:07}.jpg", label, 30 + number)
                lines.append(f"{image:07} {variant}\n")
        (folder / f"images_variant_{part}.txt").write_text("".join(lines))


def _write_cifar(root: Path) -> None:
    def records(first: int, count: int, before: bytes) -> list[bytes]:
        return [
            before
            + bytes([label])
            + pixels(label, first + number, (32, 32)).transpose(2, 0, 1).tobytes()
            for number in range(count)
            for label in range(3)
        ]

    ten = root / "cifar-10-batches-bin"
    ten.mkdir()
    (ten / "batches.meta.txt").write_text("airplane\nautomobile\nbird\n\n")
    train = records(40, N_TRAIN, b"")
    for batch in range(5):
        (ten / f"data_batch_{batch + 1}.bin").write_bytes(
            b"".join(train[2 * batch : 2 * batch + 2])
        )
    (ten / "test_batch.bin").write_bytes(b"".join(records(50, N_TEST, b"")))
    hundred = root / "cifar-100-binary"
    hundred.mkdir()
    (hundred / "fine_label_names.txt").write_text("apple\naquarium_fish\nbaby\n")
    (hundred / "coarse_label_names.txt").write_text("aquatic_mammals\nfish\n")
    for name, first, count in (("train", 40, N_TRAIN), ("test", 50, N_TEST)):
        (hundred / f"{name}.bin").write_bytes(b"".join(records(first, count, b"\x01")))


def _write_svhn(root: Path) -> None:
    folder = root / "svhn"
    folder.mkdir()
    for part, first, count in (("train", 60, N_TRAIN), ("test", 70, N_TEST)):
        digits = [digit for _ in range(count) for digit in (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)]
        images = [pixels(digit, first + i, (32, 32)) for i, digit in enumerate(digits)]
        labels = np.array([[digit or 10] for digit in digits], dtype=np.uint8)
        content = {"X": np.stack(images, axis=-1), "y": labels}
        savemat(folder / f"{part}_32x32.mat", content, do_compression=True)

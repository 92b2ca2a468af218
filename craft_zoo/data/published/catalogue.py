"""Catalogue of published data sets: names, layouts, templates, sizes and sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

_PHOTO = "a photo of a {}."
_THIS_IS = "This is a photo of a {}."
_DRIVE = "https://drive.google.com/file/d/"


class Sizes(NamedTuple):
    """Number of images in each split."""

    train: int
    val: int
    test: int


@dataclass(frozen=True)
class Published:
    """Description of a published data set, available without its files.

    Attributes:
        name: its name for ``--dataset``.
        title: its name in papers.
        folder: its folder under the data root.
        images: its image folder within ``folder``; "" if that is the folder itself.
        split: file in ``folder`` with CoOp's split or ImageNet's class names; None if the data set
            has no such file.
        template: its hand-written prompt.
        n_classes: number of classes.
        sizes: published number of images in each split.
        images_from: URL of the images.
        split_from: URL of ``split``, always on Google Drive.
        lists: other required files in ``folder``.
        parts: required folders in the image folder.
        renamed: raw class name → the words that publications use instead.
        split_also: alternative path of ``split`` under the data root.
        split_optional: whether the data set can be read without ``split``.
        by_hand: why the images cannot be downloaded; None if they can.
    """

    name: str
    title: str
    folder: str
    images: str
    split: str | None
    template: str
    n_classes: int
    sizes: Sizes
    images_from: str
    split_from: str | None = None
    lists: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    split_also: str | None = None
    split_optional: bool = False
    by_hand: str | None = None

    def image_folder(self, root: Path) -> Path:
        """Path of the image folder under the data root."""
        return root / self.folder / self.images

    def split_path(self, root: Path) -> Path | None:
        """Actual or expected path of ``split`` under the data root."""
        if self.split is None:
            return None
        path = root / self.folder / self.split
        also = None if self.split_also is None else root / self.split_also
        return also if also is not None and also.exists() and not path.exists() else path


def published_datasets() -> dict[str, Published]:
    """Every data set by name, in the order in which papers list them."""
    return dict(_BY_NAME)


_CALTECH_WORDS = MappingProxyType(
    {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}
)
_EUROSAT_WORDS = MappingProxyType(
    {
        "AnnualCrop": "Annual Crop Land",
        "Forest": "Forest",
        "HerbaceousVegetation": "Herbaceous Vegetation Land",
        "Highway": "Highway or Road",
        "Industrial": "Industrial Buildings",
        "Pasture": "Pasture Land",
        "PermanentCrop": "Permanent Crop Land",
        "Residential": "Residential Buildings",
        "River": "River",
        "SeaLake": "Sea or Lake",
    }
)
_CLASSNAMES = "classnames.txt"
_CLASSNAMES_FROM = _DRIVE + "1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF"


def _shift(
    name: str, title: str, folder: str, images: str, n_classes: int, n_test: int, images_from: str
) -> Published:
    """A shifted test set of ImageNet."""
    return Published(
        name=name,
        title=title,
        folder=folder,
        images=images,
        split=_CLASSNAMES,
        template=_PHOTO,
        n_classes=n_classes,
        sizes=Sizes(0, 0, n_test),
        images_from=images_from,
        split_from=_CLASSNAMES_FROM,
        split_also=f"imagenet/{_CLASSNAMES}",
    )


_ALL = (
    Published(
        name="imagenet",
        title="ImageNet",
        folder="imagenet",
        images="images",
        split=_CLASSNAMES,
        template=_PHOTO,
        n_classes=1000,
        sizes=Sizes(1_281_167, 0, 50_000),
        images_from="https://image-net.org",
        split_from=_CLASSNAMES_FROM,
        parts=("train", "val"),
        by_hand="its owners give it to registered researchers only",
    ),
    Published(
        name="caltech101",
        title="Caltech101",
        folder="caltech-101",
        images="101_ObjectCategories",
        split="split_zhou_Caltech101.json",
        template=_PHOTO,
        n_classes=100,
        sizes=Sizes(4128, 1649, 2465),
        images_from="https://data.caltech.edu/records/mzrjq-6wc02",
        split_from=_DRIVE + "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN",
        renamed=_CALTECH_WORDS,
    ),
    Published(
        name="oxford_pets",
        title="OxfordPets",
        folder="oxford_pets",
        images="images",
        split="split_zhou_OxfordPets.json",
        template="a photo of a {}, a type of pet.",
        n_classes=37,
        sizes=Sizes(2944, 736, 3669),
        images_from="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        split_from=_DRIVE + "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs",
    ),
    Published(
        name="stanford_cars",
        title="StanfordCars",
        folder="stanford_cars",
        images="",
        split="split_zhou_StanfordCars.json",
        template=_PHOTO,
        n_classes=196,
        sizes=Sizes(6509, 1635, 8041),
        images_from="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        split_from=_DRIVE + "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT",
        parts=("cars_train", "cars_test"),
        by_hand="its owners have stopped serving it",
    ),
    Published(
        name="oxford_flowers",
        title="Flowers102",
        folder="oxford_flowers",
        images="jpg",
        split="split_zhou_OxfordFlowers.json",
        template="a photo of a {}, a type of flower.",
        n_classes=102,
        sizes=Sizes(4093, 1633, 2463),
        images_from="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        split_from=_DRIVE + "1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT",
    ),
    Published(
        name="food101",
        title="Food101",
        folder="food-101",
        images="images",
        split="split_zhou_Food101.json",
        template="a photo of {}, a type of food.",
        n_classes=101,
        sizes=Sizes(50_500, 20_200, 30_300),
        images_from="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        split_from=_DRIVE + "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl",
    ),
    Published(
        name="fgvc_aircraft",
        title="FGVCAircraft",
        folder="fgvc_aircraft",
        images="images",
        split=None,
        template="a photo of a {}, a type of aircraft.",
        n_classes=100,
        sizes=Sizes(3334, 3333, 3333),
        images_from="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        lists=(
            "variants.txt",
            "images_variant_train.txt",
            "images_variant_val.txt",
            "images_variant_test.txt",
        ),
    ),
    Published(
        name="sun397",
        title="SUN397",
        folder="sun397",
        images="SUN397",
        split="split_zhou_SUN397.json",
        template=_PHOTO,
        n_classes=397,
        sizes=Sizes(15_880, 3970, 19_850),
        images_from="https://vision.princeton.edu/projects/2010/SUN/",
        split_from=_DRIVE + "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq",
    ),
    Published(
        name="dtd",
        title="DTD",
        folder="dtd",
        images="images",
        split="split_zhou_DescribableTextures.json",
        template="{} texture.",
        n_classes=47,
        sizes=Sizes(2820, 1128, 1692),
        images_from="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        split_from=_DRIVE + "1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x",
    ),
    Published(
        name="eurosat",
        title="EuroSAT",
        folder="eurosat",
        images="2750",
        split="split_zhou_EuroSAT.json",
        template="a centered satellite photo of {}.",
        n_classes=10,
        sizes=Sizes(13_500, 5400, 8100),
        images_from="https://github.com/phelber/EuroSAT",
        split_from=_DRIVE + "1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o",
        renamed=_EUROSAT_WORDS,
    ),
    Published(
        name="ucf101",
        title="UCF101",
        folder="ucf101",
        images="UCF-101-midframes",
        split="split_zhou_UCF101.json",
        template="a photo of a person doing {}.",
        n_classes=101,
        sizes=Sizes(7639, 1898, 3783),
        images_from=_DRIVE + "10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O",
        split_from=_DRIVE + "1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y",
    ),
    _shift(
        "imagenetv2",
        "ImageNetV2",
        "imagenetv2",
        "imagenetv2-matched-frequency-format-val",
        1000,
        10_000,
        "https://github.com/modestyachts/ImageNetV2",
    ),
    _shift(
        "imagenet-sketch",
        "ImageNet-Sketch",
        "imagenet-sketch",
        "images",
        1000,
        50_889,
        "https://github.com/HaohanWang/ImageNet-Sketch",
    ),
    _shift(
        "imagenet-a",
        "ImageNet-A",
        "imagenet-adversarial",
        "imagenet-a",
        200,
        7500,
        "https://github.com/hendrycks/natural-adv-examples",
    ),
    _shift(
        "imagenet-r",
        "ImageNet-R",
        "imagenet-rendition",
        "imagenet-r",
        200,
        30_000,
        "https://github.com/hendrycks/imagenet-r",
    ),
    Published(
        name="cifar10",
        title="CIFAR-10",
        folder="cifar-10-batches-bin",
        images="",
        split=None,
        template=_PHOTO,
        n_classes=10,
        sizes=Sizes(50_000, 0, 10_000),
        images_from="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        lists=(
            "batches.meta.txt",
            *(f"data_batch_{number}.bin" for number in range(1, 6)),
            "test_batch.bin",
        ),
    ),
    Published(
        name="cifar100",
        title="CIFAR-100",
        folder="cifar-100-binary",
        images="",
        split=None,
        template=_PHOTO,
        n_classes=100,
        sizes=Sizes(50_000, 0, 10_000),
        images_from="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        lists=("fine_label_names.txt", "train.bin", "test.bin"),
    ),
    Published(
        name="svhn",
        title="SVHN",
        folder="svhn",
        images="",
        split=None,
        template=_THIS_IS,
        n_classes=10,
        sizes=Sizes(73_257, 0, 26_032),
        images_from="http://ufldl.stanford.edu/housenumbers/",
        lists=("train_32x32.mat", "test_32x32.mat"),
    ),
    Published(
        name="resisc45",
        title="RESISC45",
        folder="resisc45",
        images="NWPU-RESISC45",
        split="split_mlai_Resisc45.json",
        template=_THIS_IS,
        n_classes=45,
        sizes=Sizes(15_750, 6300, 9450),
        images_from="https://onedrive.live.com/?authkey=%21AHHNaHIlzp%5FIXjs"
        "&id=5C5E061130630A68%21107&cid=5C5E061130630A68&parId=root&parQt=sharedby&o=OneUp",
        split_from=_DRIVE + "1QTThkyN-p58hAxN7wpBntO4CncTf9qtF",
        split_optional=True,
        by_hand="its owners serve it as a .rar file behind a page for browsers",
    ),
)
_BY_NAME = {published.name: published for published in _ALL}

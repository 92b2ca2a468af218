"""scikit-learn's handwritten digits, a data set that is installed with a dependency."""

from __future__ import annotations

import numpy as np

from craft_zoo.data.classnames import known_words
from craft_zoo.data.load import DatasetSpec, register_dataset
from craft_zoo.data.task import Dataset, LabelledImages

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_N_TEST = 1000  # the last images of the file, whose writers differ from those of the first


@register_dataset("digits")
def load_digits(spec: DatasetSpec) -> Dataset:
    """digits: 1,797 handwritten digits of 8 x 8 pixels (UCI, in scikit-learn), 1,000 for testing.

    The digits are black on white, as in photographs of handwriting.
    """
    from sklearn import datasets

    spec.check_no_argument()
    bunch = datasets.load_digits()
    pixels = np.round(255 - bunch.images * (255 / 16)).astype(np.uint8)  # source: 0 (white) to 16
    labels = bunch.target.astype(np.int64)
    n_train = len(pixels) - _N_TEST
    return Dataset(
        "digits",
        known_words(
            "0123456789", spec.classnames_file, dict(zip("0123456789", WORDS, strict=True))
        ),
        LabelledImages(list(pixels[:n_train]), labels[:n_train]),
        LabelledImages(list(pixels[n_train:]), labels[n_train:]),
    )

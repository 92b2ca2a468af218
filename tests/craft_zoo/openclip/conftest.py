"""Images for comparisons with other libraries."""

from __future__ import annotations

import numpy as np
import pytest

from craft_zoo.data.images import ImageSource


@pytest.fixture
def images() -> list[ImageSource]:
    """Of the size that the models take, as the libraries resize by slightly other formulas."""
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))

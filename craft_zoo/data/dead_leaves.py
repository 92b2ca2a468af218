"""Images of overlapping shapes in random colours, for questions that need images of nothing.

The dead leaves model (Lee, Mumford and Huang 2001, "Occlusion models for natural images") has edges
and sizes distributed as in photographs. Baradad et al. (2021, "Learning to see by looking at
noise") train features of natural images on such images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from craft_zoo.seeding import generator

_SIDE = 224  # pixels
_SIZE = (_SIDE, _SIDE)


def dead_leaves(count: int, seed: int = 0) -> list[np.ndarray]:
    """Draw images of 224 × 224 pixels, (H, W, 3) uint8.

    Args:
        count: number of images.
        seed: the same seed draws the same images, and more of them for a larger ``count``.
    """
    rng = generator(seed, "dead leaves")
    return [np.asarray(_draw(rng)) for _ in range(count)]


def _draw(rng: np.random.Generator) -> Image.Image:
    ground, *colours = map(tuple, rng.integers(0, 256, (rng.integers(3, 9), 3)).tolist())
    image = Image.new("RGB", _SIZE, ground) if rng.random() < 0.5 else _noise(rng)
    texture = _noise(rng)
    for _ in range(rng.integers(1, 80)):
        if rng.random() < 0.25:
            mask = Image.new("L", _SIZE)
            _add_shape(ImageDraw.Draw(mask), 255, rng)
            image.paste(texture, (0, 0), mask)
        else:
            _add_shape(ImageDraw.Draw(image), colours[rng.integers(len(colours))], rng)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5)))


def _add_shape(draw: ImageDraw.ImageDraw, fill: Any, rng: np.random.Generator) -> None:
    """Draw an ellipse, a polygon or a line."""
    place, kind = rng.uniform(0, _SIDE, 2), rng.integers(3)
    # The density of radii r falls as about 1/r³, with which all sizes cover equal areas.
    radius = min(4 / (rng.random() ** 0.7 + 0.02), 110)
    if kind == 0:
        half = radius * rng.uniform(0.3, 1, 2)
        draw.ellipse([*(place - half), *(place + half)], fill=fill)
    elif kind == 1:
        corners = int(rng.integers(3, 9))
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 2 * np.pi)
        radii = radius * rng.uniform(0.5, 1.3, corners)
        points = place[:, None] + radii * np.stack([np.cos(angles), np.sin(angles)])
        draw.polygon([*map(tuple, points.T.tolist())], fill=fill)
    else:
        ends = [*place, *rng.uniform(0, _SIDE, 2)]
        draw.line(ends, fill=fill, width=int(rng.integers(1, 14)))


def _noise(rng: np.random.Generator) -> Image.Image:
    """Noise whose amplitudes fall with the spatial frequency, as those of photographs do."""
    waves = np.hypot(np.fft.fftfreq(_SIDE)[:, None], np.fft.rfftfreq(_SIDE))
    waves[0, 0] = 1 / _SIDE
    white = np.fft.rfft2(rng.standard_normal((4, _SIDE, _SIDE)))
    grey, *own = _standard(np.fft.irfft2(white / waves ** rng.uniform(0.3, 2), _SIZE))
    weights = rng.standard_normal((3, 1, 1)), rng.uniform(0, 1, (3, 1, 1))
    mixed = _standard(weights[0] * grey + weights[1] * np.stack(own))
    values = mixed * rng.uniform(10, 70, (3, 1, 1)) + rng.uniform(40, 215, (3, 1, 1))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def _standard(images: np.ndarray) -> np.ndarray:
    return images / images.std(axis=(1, 2), keepdims=True)

"""Encoder of text prompts."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional as F

from craft_zoo.blackbox.templates import fill, filled
from craft_zoo.errors import PromptError
from craft_zoo.openclip.text.tower import (
    Model,
    Tokenizer,
    bytes_per_text,
    shortened,
    token_embedding,
    tokens_of,
)

_TEXTS = 512  # maximum batch; larger ones are not faster
_PART = 64  # texts that take a fraction of a second


class WordEncoder:
    """Computes features of C class names under templates, with the model's own ``encode_text``.

    The features of the latest single template are cached, because images are often classified in
    consecutive calls with the same template.

    Args:
        model: an open_clip model.
        tokenizer: its tokenizer.
        classnames: C class names.
        memory: bytes that encoding may use in addition to the model.
    """

    def __init__(
        self, model: Model, tokenizer: Tokenizer, classnames: Sequence[str], *, memory: int
    ) -> None:
        self._model, self._tokenizer, self._names = model, tokenizer, tuple(classnames)
        self._memory = memory
        self._device = token_embedding(model).weight.device
        self._last: tuple[str | tuple[str, ...], Tensor] | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes that it currently holds, without the model and the class names."""
        return self._last[1].nbytes if self._last else 0

    @torch.inference_mode()
    def __call__(self, templates: Sequence[str | tuple[str, ...]]) -> Iterator[Tensor]:
        """Normalised float32 features (C, embed_dim) for each template.

        A tuple has a template for each class.

        Raises:
            CraftZooError: a prompt is longer than the model's context.
        """
        if len(templates) == 1:
            last = self._last  # another thread may replace it
            if last is None or last[0] != templates[0]:
                last = templates[0], self.together([(self, templates)])[0][0]
                self._last = last
            yield last[1]
            return
        each = self._most_texts()
        together = max(1, min(_TEXTS, each) // len(self._names))
        for first in range(0, len(templates), together):
            some = templates[first : first + together]
            tokens = tokens_of(self._tokenizer, self._prompts(some)).to(self._device)
            features = torch.cat([self._encode(part) for part in tokens.split(each)])
            yield from features.view(len(some), len(self._names), -1)

    def fits(self, template: str) -> bool:
        """Whether the model's context holds the prompt of each class."""
        try:
            tokens_of(self._tokenizer, self._prompts([template]))
        except PromptError:
            return False
        return True

    def preparing(self, template: str) -> Generator[None, None, None]:
        """Compute and cache the features of a template, yielding between parts of some texts.

        Raises:
            CraftZooError: a prompt is longer than the model's context.
        """
        parts, step = [], min(_PART, self._most_texts())
        for first in range(0, len(self._names), step):
            if first:
                yield
            some = [fill(template, name) for name in self._names[first : first + step]]
            with torch.inference_mode():
                parts.append(self._encode(tokens_of(self._tokenizer, some).to(self._device)))
        self._last = template, torch.cat(parts)

    @torch.inference_mode()
    def together(
        self, asked: Sequence[tuple[WordEncoder, Sequence[str | tuple[str, ...]]]]
    ) -> list[Tensor]:
        """Features (P, C, embed_dim) of several label sets of one model, equal texts encoded once.

        Args:
            asked: encoders, each with its templates.

        Raises:
            CraftZooError: a prompt is longer than the model's context.
        """
        prompts = [encoder._prompts(templates) for encoder, templates in asked]
        places: dict[str, int] = {}
        for prompt in chain.from_iterable(prompts):
            places.setdefault(prompt, len(places))
        tokens = tokens_of(self._tokenizer, list(places)).to(self._device)
        parts = tokens.split(min(_TEXTS, self._most_texts()))
        features = torch.cat([self._encode(part) for part in parts])
        return [
            features[[places[prompt] for prompt in some]].unflatten(
                0, (len(templates), len(encoder._names))
            )
            for some, (encoder, templates) in zip(prompts, asked, strict=True)
        ]

    def _most_texts(self) -> int:
        """Maximum number of texts in a batch that fits into memory."""
        length = self._tokenizer(["x"]).shape[1]
        return max(1, self._memory // bytes_per_text(self._model, length))

    def _prompts(self, templates: Sequence[str | tuple[str, ...]]) -> list[str]:
        """The P · C text prompts."""
        return [text for template in templates for text in filled(template, self._names)]

    def _encode(self, tokens: Tensor) -> Tensor:
        with shortened(self._model, tokens) as short:
            return F.normalize(self._model.encode_text(short).float(), dim=-1)

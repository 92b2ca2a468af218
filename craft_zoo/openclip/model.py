"""open_clip models on this machine, behind the common model interface."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor

from craft_zoo import mini
from craft_zoo.blackbox.base import BlackBox, ImageSet, Progress, Prompts, check_given, own_images
from craft_zoo.blackbox.image_tokens import Embeddings, shared_tokens
from craft_zoo.blackbox.load import DEFAULT_MEMORY
from craft_zoo.blackbox.serving import Question, ServingVLM
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template, fill
from craft_zoo.data.images import ImageSource, as_images
from craft_zoo.errors import CraftZooError, PromptError
from craft_zoo.files import expanded
from craft_zoo.openclip.build import build
from craft_zoo.openclip.cache import cache_folder, weights_key
from craft_zoo.openclip.classifier import ImageFeatures, OpenCLIPClassifier, OpenCLIPTexts
from craft_zoo.openclip.images import ImageEncoder
from craft_zoo.openclip.layers import inner_tokens, recorded_spreads
from craft_zoo.openclip.text import (
    Model,
    Tokenizer,
    WordEncoder,
    alone_with,
    encoder_for,
    token_embedding,
    tokens_in_parts,
)
from craft_zoo.openclip.white_box import WhiteBox
from craft_zoo.threads import compute_on_one_after_forks

_FINGERPRINT = 32  # hexadecimal digits
# Attributes of the preprocessing's steps that a fingerprint shows.
_PREPROCESSING = ("size", "interpolation", "fill", "mean", "std")
_WITHOUT_EFFECT = frozenset({"Identity", "Dropout"})  # modules that change no answer


class OpenCLIP(ServingVLM):
    """An open_clip model with its preprocessing and tokenizer.

    Args:
        model: the model; it is put into evaluation mode.
        preprocess: PIL image → tensor (3, H, W).
        tokenizer: texts → token ids (n, context_length).
        name: see :attr:`VLM.name`.
        memory: megabytes that scoring may use besides the model and the logits of one candidate.
        compile: run the text tower through :func:`torch.compile`.
        cache: folder of the image feature cache; None: no cache.
    """

    has_features = True
    in_flight = 40  # a generation of the optimizer, so that small label sets share a batch

    def __init__(
        self,
        model: Model,
        preprocess: Callable[..., Tensor],
        tokenizer: Tokenizer,
        *,
        name: str,
        memory: int = DEFAULT_MEMORY,
        compile: bool = False,
        cache: str | Path | None = None,
    ) -> None:
        if memory < 1:
            raise CraftZooError(f"the memory for scoring must be at least 1 MB, not {memory}")
        compute_on_one_after_forks()
        self._model = model.eval().requires_grad_(False)
        self._model.visual.to(memory_format=torch.channels_last)  # faster convolutions
        self._preprocess, self._tokenizer = preprocess, tokenizer
        self._memory, self._compile = memory * 2**20, compile
        folder = None if cache is None else expanded(cache)
        self._encode_images = ImageEncoder(self._model, preprocess, cache=folder)
        self.name = name
        self._files: tuple[Path, ...] = ()
        self._load_again: Callable[[], OpenCLIP] | None = None
        size = self._model.visual.image_size
        self.image_size = int(size if isinstance(size, int) else size[0])

    @classmethod
    def load(
        cls,
        model: str = mini.NAME,
        pretrained: str | None = None,
        *,
        device: str | None = None,
        precision: str = "fp32",
        memory: int = DEFAULT_MEMORY,
        compile: bool = False,
        cache: bool | str | Path = True,
    ) -> OpenCLIP:
        """Load an architecture with its weights.

        Args:
            model: an open_clip architecture (``ViT-B-32``, ``hf-hub:org/name``), optionally with a
                suffix for its activation (``ViT-B-32-quickgelu``, ``ViT-B-32-gelu``), or the
                built-in ``craft-mini``.
            pretrained: an open_clip tag (downloaded on first use), the path of a checkpoint, or
                ``TAG@PATH`` for a file that is used with the settings of the tag.
            device: torch device; None: the GPU if there is one.
            precision: one of ``fp32``, ``fp16``, ``bf16``.
            memory: see :class:`OpenCLIP`.
            compile: see :class:`OpenCLIP`.
            cache: True: in :func:`craft_zoo.openclip.cache_folder`; False: none; or a folder.

        Raises:
            CraftZooError: the model, tag, device or precision is unknown, or the weights do not
                fit or cannot be downloaded.
        """
        built = build(model, pretrained, device, precision)
        folder = (cache_folder() if cache else None) if isinstance(cache, bool) else cache
        parts = built.model, built.preprocess, built.tokenizer
        vlm = cls(*parts, name=built.name, memory=memory, compile=compile, cache=folder)
        vlm.precision, vlm._files = precision, built.files
        vlm._load_again = partial(
            cls.load,
            model,
            pretrained,
            device=device,
            precision=precision,
            memory=memory,
            compile=compile,
            cache=cache,
        )
        if precision != "fp32":
            vlm._check_precision()
        return vlm

    def __reduce__(self) -> tuple[Callable[[], OpenCLIP], tuple[()]]:
        """A copy in another process, as of scikit-learn's ``n_jobs``, loads the model again."""
        if self._load_again is None:
            raise CraftZooError(
                f"{self.name} was not loaded from files and cannot be copied to another process: "
                f"make it there"
            )
        return self._load_again, ()

    def __copy__(self) -> OpenCLIP:
        """A copy in this process shares the model."""
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def _check_precision(self) -> None:
        """Compute once, as open_clip converts only some parts of a model to half precision."""
        with self._computing():
            images = self.images([np.zeros((8, 8, 3), dtype=np.uint8)], keep=False)
            box = self.classifier(["cat"])
            list(box.logits(box.initial_context[None], images))

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Name the model in errors of torch and timm, which raise them for inputs that misfit."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
            size = "x".join(map(str, np.atleast_1d(self._model.visual.image_size)))
            mend = f"check image_size in its configuration, which is {size}"
            if self.precision != "fp32":
                mend = "use precision='fp32' (--precision fp32)"
            raise CraftZooError(
                f"{self.name} cannot compute in {self.precision} ({reason}): {mend}"
            ) from error

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageFeatures:
        """Encode images, see :meth:`VLM.images`.

        Raises:
            CraftZooError: there is no image, one is missing or corrupt, or the model's image tower
                takes images of another size.
        """
        images = as_images(images)
        with self._computing(), self._adding(shared_tokens(images)):
            if keep:
                return ImageFeatures(self._encode_images(images, progress), self, images)
            features, lengths = self._encode_images.with_lengths(images, progress)
        return ImageFeatures(features, self, images, lengths)

    @contextmanager
    def _adding(self, tokens: np.ndarray | None) -> Iterator[None]:
        """Within, images are encoded with tokens behind their patches, see :class:`WithTokens`.

        No other thread encodes images meanwhile, with other tokens or none.
        """
        visual = self._model.visual
        if tokens is None:
            with alone_with(visual):
                yield
            return
        if tokens.shape[-1] != (width := self._token_width()):
            raise CraftZooError(
                f"{self.name} takes image tokens of {width} numbers, not {tokens.shape[-1]}: pass "
                f"the images alone"
            )
        first, *inner = torch.from_numpy(tokens if tokens.ndim == 3 else tokens[None])

        def add(_: Model, given: tuple[Tensor]) -> tuple[Tensor]:
            patches = given[0]
            return (torch.cat([patches, first.to(patches).expand(len(patches), -1, -1)], dim=1),)

        with alone_with(visual), inner_tokens(visual, slice(-len(first), None), inner):
            hook = visual.ln_pre.register_forward_pre_hook(add)
            try:
                yield
            finally:
                hook.remove()

    def description(self) -> dict[str, str]:
        """See :meth:`VLM.description`: a hash of weights, activations and preprocessing."""
        functions = {
            type(part).__name__
            for part in self._model.modules()
            if not any(part.children()) and not any(True for _ in part.parameters())
        }
        preprocess = [
            f"{name}: {getattr(step, name)}"
            for step in getattr(self._preprocess, "transforms", ())
            for name in _PREPROCESSING
            if hasattr(step, name)
        ]
        key = weights_key(self._model, *sorted(functions - _WITHOUT_EFFECT), *preprocess)
        return {"fingerprint": key[:_FINGERPRINT]}

    def identity(self) -> dict[str, str]:
        """See :meth:`VLM.identity`: a hash of the files on this machine that the name names."""
        return {"files": self._hash_of_files} if self._files else {}

    @cached_property
    def _hash_of_files(self) -> str:
        digest = hashlib.sha256()
        for path in self._files:
            digest.update(path.name.encode(errors="surrogateescape"))
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:_FINGERPRINT]

    def embeddings(self) -> Embeddings:
        """See :meth:`VLM.embeddings`. Vision transformers of open_clip take image tokens."""
        words, width = token_embedding(self._model).weight.float(), self._token_width()
        statistics = 0.0, 0.0
        if width:
            patches = self._model.visual.conv1.weight.float()
            statistics = float(patches.mean()), float(patches.std(correction=0))
        return Embeddings(float(words.std(correction=0)), width, statistics)

    def nearest_words(self, vectors: np.ndarray) -> list[tuple[str, float]]:
        """See :meth:`VLM.nearest_words`."""
        words = token_embedding(self._model).weight.float()
        given = torch.from_numpy(np.asarray(vectors, dtype=np.float32)).to(words.device)
        distances, tokens = torch.cdist(given, words).min(dim=1)
        # open_clip wraps tokenizers of Hugging Face, and its own one decodes itself.
        tokenizer: Any = getattr(self._tokenizer, "tokenizer", self._tokenizer)
        found = [str(tokenizer.decode([token])).strip() for token in tokens.tolist()]
        return list(zip(found, distances.tolist(), strict=True))

    def _token_width(self) -> int:
        """Numbers of an image token; 0 if the model takes none."""
        visual = self._model.visual
        return len(visual.conv1.weight) if isinstance(visual, VisionTransformer) else 0

    def white_box(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> WhiteBox:
        """Open the model on class names with gradients; not part of the black-box interface."""
        return WhiteBox(self._model, self._tokenizer, classnames, init)

    def image_spreads(self, images: Sequence[ImageSource]) -> list[float]:
        """Spread of what each layer of the image tower makes of images, see
        :func:`craft_zoo.openclip.layers.spread`; not part of the black-box interface."""
        with self._adding(shared_tokens(images)), recorded_spreads(self._model.visual) as found:
            self._encode_images.encode_together(images)
        return found

    def features(self, images: ImageSet) -> np.ndarray:
        """See :meth:`VLM.features`."""
        return own_images(images, ImageFeatures, self).features.cpu().numpy()

    def feature_lengths(self, images: ImageSet) -> np.ndarray:
        """See :meth:`VLM.feature_lengths`."""
        own = own_images(images, ImageFeatures, self)
        if own.lengths is None:
            with self._adding(shared_tokens(own.sources)):
                own.lengths = self._encode_images.with_lengths(own.sources)[1]
        return own.lengths.cpu().numpy()

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> OpenCLIPClassifier:
        """Open the model on class names.

        Raises:
            CraftZooError: there are no class names, one is too long for the model, or two have the
                same tokens.
        """
        opening = self.opening(classnames, init)
        while True:
            try:
                next(opening)
            except StopIteration as end:
                return end.value

    def opening(
        self, classnames: Sequence[str], init: str = DEFAULT_INIT
    ) -> Generator[None, None, OpenCLIPClassifier]:
        """See :meth:`ServingVLM.opening`."""
        check_given(classnames, "class names")
        prompts = [fill(as_template(init), name) for name in classnames]
        encoder = encoder_for(self._model)(
            self._model,
            self._tokenizer,
            classnames,
            init,
            memory=self._memory,
            compile=self._compile,
            tokens=(yield from tokens_in_parts(self._tokenizer, prompts)),
        )
        _check_distinct(encoder.tokens, classnames)
        words = self._words(classnames)
        return OpenCLIPClassifier(self, encoder, words, classnames, as_template(init))

    def opening_texts(self, texts: Sequence[str]) -> Generator[None, None, OpenCLIPTexts]:
        """See :meth:`ServingVLM.opening_texts`. The texts' features are computed here."""
        check_given(texts, "texts")
        words = self._words(texts)
        yield from words.preparing("{}")
        return OpenCLIPTexts(self, words, texts, "{}")

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        """See :meth:`VLM.text_features`."""
        check_given(texts, "texts")
        return next(self._words(texts)(["{}"])).cpu().numpy()

    def _words(self, texts: Sequence[str]) -> WordEncoder:
        return WordEncoder(self._model, self._tokenizer, texts, memory=self._memory)

    def batching_key(self, question: Question) -> Hashable:
        """See :meth:`ServingVLM.batching_key`. All texts have one key, as do contexts of one length
        if the text tower is plainly causal, whatever the classes and images."""
        key = "texts" if question.in_words else _with_contexts(question.box)._encoder.batching_key()
        return super().batching_key(question) if key is None else key

    def scorer(self, box: BlackBox, prompts: Prompts) -> Callable[[ImageSet], np.ndarray]:
        """See :meth:`ServingVLM.scorer`."""
        own = _of_openclip(box)
        texts = list(own.texts(prompts))
        return lambda images: np.stack(list(own._scores(iter(texts), images)))

    def answer(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """See :meth:`ServingVLM.answer`; the texts of all questions are encoded in one batch."""
        boxes = [_of_openclip(question.box) for question in questions]
        first = questions[0]
        if len(questions) == 1 or self.batching_key(first) == super().batching_key(first):
            return super().answer(questions)
        if first.in_words:
            words = [(box._words, list(q.prompts)) for box, q in zip(boxes, questions, strict=True)]
            texts = boxes[0]._words.together(words)
        else:
            contexts = [
                (box._encoder, box._contexts(np.asarray(question.prompts)))
                for box, question in zip(map(_with_contexts, boxes), questions, strict=True)
            ]
            texts = contexts[0][0].together(contexts)
        return [
            np.stack(list(box._scores(iter(own), question.images)))
            for box, own, question in zip(boxes, texts, questions, strict=True)
        ]


def _of_openclip(box: BlackBox) -> OpenCLIPTexts:
    assert isinstance(box, OpenCLIPTexts)
    return box


def _with_contexts(box: BlackBox) -> OpenCLIPClassifier:
    assert isinstance(box, OpenCLIPClassifier)
    return box


def _check_distinct(tokens: Tensor, classnames: Sequence[str]) -> None:
    """Check that all rows of tokens (C, length) differ, as equal classes are indistinguishable."""
    seen: dict[bytes, int] = {}
    for label, row in enumerate(tokens.cpu().numpy()):
        other = seen.setdefault(row.tobytes(), label)
        if other != label:
            raise PromptError(
                f"the model reads the class names {classnames[other]!r} and "
                f"{classnames[label]!r} as the same tokens: give distinct names"
            )

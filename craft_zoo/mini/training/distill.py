"""Distillation: trains the text tower to predict the teacher's vectors."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Weight and logit scale of the second loss, the KL divergence over ImageNet's classes.
CLASS_WEIGHT = 0.2
CLASS_SCALE = 30.0

#: Minimizes the cross-entropy on Caltech101's training images.
LOGIT_SCALE = 25.0


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of AdamW with warm-up and cosine decay."""

    epochs: int = 4
    batch: int = 256
    rate: float = 1.5e-3
    warmup: int = 300
    decay: float = 0.02
    seed: int = 0


class Texts:
    """Tokenised phrases of various lengths; token ids index `tokens`, the ids that occur."""

    def __init__(self, phrases: Sequence[str]) -> None:
        tokenizer = open_clip.SimpleTokenizer()
        edge = tokenizer.sot_token_id, tokenizer.eot_token_id
        rows = [[edge[0], *tokenizer.encode(text)[:75], edge[1]] for text in phrases]
        self.lengths = np.array([len(row) for row in rows])
        self.tokens = torch.tensor(sorted({token for row in rows for token in row}))
        number = {token: i for i, token in enumerate(self.tokens.tolist())}
        self._rows = [torch.tensor([number[token] for token in row]) for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return padded ids (b, longest) and the position of the last token (b,)."""
        ids = nn.utils.rnn.pad_sequence([self._rows[i] for i in chosen], batch_first=True)
        return ids, torch.from_numpy(self.lengths[chosen] - 1)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield the indices of all texts once, in batches of similar length and random order."""
        mixed = rng.permutation(len(self))
        ordered = mixed[np.argsort(self.lengths[mixed], kind="stable")]
        starts = np.arange(0, len(self), size)
        for start in rng.permutation(starts):
            yield ordered[start : start + size]


def encode(model: open_clip.CLIP, ids: Tensor, last: Tensor) -> Tensor:
    """Encode texts as ``model.encode_text`` does, with only as many positions as `ids` has.

    The transformer is causal, so positions after the end of the text do not affect the result.
    """
    length = ids.shape[1]
    hidden = model.token_embedding(ids) + model.positional_embedding[:length]
    hidden = model.transformer(hidden, attn_mask=model.attn_mask[:length, :length])
    hidden = model.ln_final(hidden[torch.arange(len(ids)), last])
    return F.normalize(hidden @ model.text_projection, dim=1)


def train(
    model: open_clip.CLIP,
    texts: Texts,
    targets: Tensor,
    classes: Tensor,
    settings: Settings,
    after_epoch: Callable[[int], None],
) -> None:
    """Train the text tower of `model` in place; its token embedding becomes that of `texts.tokens`.

    `targets` (n, 512) and `classes` (1000, 512) are unit vectors.
    """
    rng = np.random.default_rng(settings.seed)
    model.token_embedding = nn.Embedding.from_pretrained(
        model.token_embedding.weight.detach()[texts.tokens].clone(), freeze=False
    )
    parameters = [p for n, p in model.named_parameters() if is_text(n)]
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=settings.rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    steps = settings.epochs * math.ceil(len(texts) / settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, settings.warmup, steps)
    )
    began, step, mean = time.monotonic(), 0, 0.0
    for epoch in range(settings.epochs):
        for chosen in texts.batches(settings.batch, rng):
            ids, last = texts.batch(chosen)
            guess, target = encode(model, ids, last), targets[torch.from_numpy(chosen)]
            cosine = (guess * target).sum(dim=1).mean()
            agreement = F.kl_div(
                F.log_softmax(CLASS_SCALE * guess @ classes.T, dim=1),
                F.log_softmax(CLASS_SCALE * target @ classes.T, dim=1),
                reduction="batchmean",
                log_target=True,
            )
            optimizer.zero_grad(set_to_none=True)
            (1 - cosine + CLASS_WEIGHT * agreement).backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            mean += (cosine.item() - mean) * max(0.02, 1 / step)
            if step % 50 == 0:
                spent = time.monotonic() - began
                print(
                    f"epoch {epoch + 1} step {step}/{steps} cosine {mean:.4f} "
                    f"class divergence {agreement.item():.4f} {spent / 60:.1f} min",
                    flush=True,
                )
        after_epoch(epoch + 1)


def is_text(name: str) -> bool:
    """Return whether a parameter of the CLIP model belongs to the text tower."""
    return not name.startswith("visual.") and name not in ("logit_scale", "logit_bias")


def _rate(step: int, warmup: int, steps: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

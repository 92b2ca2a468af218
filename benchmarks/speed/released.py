"""Reimplementation of the loop that CraFT's authors released, to compare speed and accuracy.

It follows the paper and docs/method.md: candidates are scored one by one, with prompts padded to
the text tower's full length; every generation decodes, augments and encodes all training images
again for the refiner (predictions that the authors do not count); and the context is the mean of
40 fresh samples. It differs from the authors' code in points that do not change the time:

- candidates are scored on the training images (authors: on one augmented view, drawn once);
- the image features that the refiner learns from are normalised (authors: they are not, so its
  logits are larger than those of the test images);
- the step size is pycma's present default, two-point adaptation (authors: path length, CSA);
- test images are not scored after each generation;
- computation is in float32 on the default device (authors: float16 on a GPU).

The method ``craft-released`` has the first three as settings, with the authors' values as defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cma
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from craft_zoo.benchmarks.speed.naive import NaiveScorer
from craft_zoo.data import LabelledImages, open_image
from craft_zoo.methods.released import TABLE
from craft_zoo.openclip.text import Model, Tokenizer


class _Augmented(Dataset):
    """Training images, decoded and augmented at each access."""

    def __init__(self, shots: LabelledImages, preprocess: transforms.Compose, size: int) -> None:
        self.shots = shots
        keep_size = (transforms.ToTensor, transforms.Normalize)
        tail = [step for step in preprocess.transforms if isinstance(step, keep_size)]
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(
                    size, scale=(0.5, 1), interpolation=transforms.InterpolationMode.BICUBIC
                ),
                transforms.RandomHorizontalFlip(),
                *tail,
            ]
        )

    def __len__(self) -> int:
        return len(self.shots)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = open_image(self.shots.images[index])
        return self.transform(image), int(self.shots.labels[index])


def released_loop(
    model: Model,
    preprocess: transforms.Compose,
    tokenizer: Tokenizer,
    classnames: Sequence[str],
    shots: LabelledImages,
    *,
    budget: int,
    seed: int,
) -> Iterator[tuple[int, Tensor, nn.Module]]:
    """Run the released loop.

    Yields:
        After each generation: queries made, text features (C, embed_dim) of the current context,
        and the refiner's correction network.
    """
    settings = TABLE["eurosat"]
    torch.manual_seed(seed)
    scorer = NaiveScorer(model, tokenizer, classnames)
    size = scorer.initial_context.numel()
    basis = settings.std * torch.randn(size, settings.intrinsic_dim)
    scale = model.logit_scale.exp().detach()
    labels = torch.from_numpy(shots.labels)
    net = nn.Sequential(
        nn.Linear(len(classnames), settings.hidden),
        nn.ReLU(),
        nn.Linear(settings.hidden, len(classnames)),
    )
    adam = torch.optim.Adam(net.parameters(), lr=settings.lr)
    limit = settings.bound
    search = cma.CMAEvolutionStrategy(
        settings.intrinsic_dim * [0.0],
        settings.sigma,
        {
            "popsize": settings.popsize,
            "seed": seed,
            "bounds": None if limit is None else [-limit, limit],
            "verbose": -9,
        },
    )
    with torch.no_grad():
        pixels = (preprocess(open_image(image)) for image in shots.images)
        features = torch.cat([model.encode_image(image[None], normalize=True) for image in pixels])
    image_size = int(preprocess(open_image(shots.images[0])).shape[-1])
    loader = DataLoader(
        _Augmented(shots, preprocess, image_size), batch_size=settings.batch_size, shuffle=True
    )

    def context_of(z: np.ndarray) -> Tensor:
        moved = basis @ torch.as_tensor(z, dtype=torch.float32)
        return scorer.initial_context + moved.view_as(scorer.initial_context)

    def correct(logits: Tensor) -> Tensor:
        return logits + net(logits)

    for generation in range(budget // settings.popsize):
        candidates = search.ask()
        losses = []
        for z in candidates:
            with torch.no_grad():
                logits = scale * features @ scorer(context_of(z)).T
                loss = F.cross_entropy(logits, labels)
                loss += settings.consistency * _divergence(logits, correct(logits))
            losses.append(float(loss))
        search.tell(candidates, losses)
        fresh = np.mean([search.mean + search.sigma * _draw(search) for _ in range(40)], axis=0)
        text = scorer(context_of(fresh))
        for pixels_batch, labels_batch in loader:
            with torch.no_grad():
                logits = scale * model.encode_image(pixels_batch, normalize=True) @ text.T
            refined = correct(logits)
            loss = F.cross_entropy(refined, labels_batch)
            loss = loss + settings.consistency * _divergence(refined, logits)
            adam.zero_grad()
            loss.backward()
            adam.step()
        yield (generation + 1) * settings.popsize, text, net


def _draw(search: cma.CMAEvolutionStrategy) -> np.ndarray:
    """Sample of the search distribution, centred and with unit step size."""
    return search.sigma_vec * search.sm.sample(1)[0]


def _divergence(ours: Tensor, target: Tensor) -> Tensor:
    return F.kl_div(ours.log_softmax(-1), target.softmax(-1), reduction="batchmean")

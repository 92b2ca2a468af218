"""Train craft-mini from files in PyPI packages: ``python -m craft_zoo.mini.training``."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import open_clip
import torch

from craft_zoo import mini
from craft_zoo.mini.packing import EMBEDDING, pack, save
from craft_zoo.mini.training import corpus, distill, image, teacher


def main() -> None:
    """Build the image tower and the teacher, distill the text tower, write the packed weights."""
    parser = argparse.ArgumentParser(prog="python -m craft_zoo.mini.training", description=__doc__)
    parser.add_argument(
        "--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="its dictionary folder"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the packed weights")
    parser.add_argument("--epochs", type=int, default=distill.Settings.epochs)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (options.wordnet / "data.noun").is_file():
        parser.error(f"no data.noun in {options.wordnet}: install the Debian package wordnet-base")
    options.out.mkdir(parents=True, exist_ok=True)

    tower = image.build()
    phrases, targets = phrases_and_targets(options.wordnet, tower.classes, options.seed)
    texts = distill.Texts([phrase.text for phrase in phrases])
    _say(f"{len(texts.tokens)} tokens occur, {texts.lengths.mean():.1f} a phrase")

    mini.register()
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        model = open_clip.create_model(mini.NAME)
    model.visual.load_state_dict(tower.state)
    model.logit_scale.data.fill_(math.log(distill.LOGIT_SCALE))

    def write(epoch: int) -> None:
        state = model.state_dict()
        embedding = torch.zeros(model.vocab_size, state[EMBEDDING].shape[1])
        embedding[texts.tokens] = state[EMBEDDING]
        packed = pack({**state, EMBEDDING: embedding}, texts.tokens)
        save(packed, options.out / mini.weights_path().name)
        _say(f"epoch {epoch} written")

    settings = distill.Settings(epochs=options.epochs, seed=options.seed)
    distill.train(model, texts, targets, tower.classes, settings, write)


def phrases_and_targets(
    folder: Path, classes: torch.Tensor, seed: int
) -> tuple[list[corpus.Phrase], torch.Tensor]:
    """Generate the phrases and compute the teacher's target vector of each."""
    wordnet = corpus.WordNet(folder)
    offsets = image.imagenet_offsets()
    names = [
        corpus.Noun(name, wordnet.synsets[offset])
        for name, offset in zip(open_clip.IMAGENET_CLASSNAMES, offsets, strict=True)
    ]
    tree = teacher.Tree(wordnet, offsets, classes)
    nouns = [*names, *wordnet.nouns]
    often = [i for i, noun in enumerate(nouns) if tree.is_close(noun.synset.offset)]
    phrases = corpus.build(wordnet, nouns, often, seed)
    _say(f"{len(nouns)} nouns, {len(phrases)} phrases")

    encode = teacher.SentenceEncoder()
    to_image = teacher.fit(encode, tree, wordnet.synsets, classes, names)
    known = teacher.knowledge(encode, to_image, tree, nouns)
    _say("the teacher knows the nouns")
    targets = teacher.targets(encode, to_image, known, phrases)
    _say("the teacher has read the phrases")
    return phrases, targets


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    main()

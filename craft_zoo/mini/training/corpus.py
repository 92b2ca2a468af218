"""Training texts of the text tower: WordNet's nouns, alone and in sentences.

`WordNet` reads the dictionary's files; `build` makes a seeded list of phrases from it. The trained
model must respond to arbitrary contexts, so a part of the phrases has unusual words around the
noun: adjectives and other nouns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from open_clip import OPENAI_IMAGENET_TEMPLATES

#: WordNet's lexicographer files with visible things: animal, artifact, body, food,
#: location, object, person, phenomenon, plant, shape, substance.
VISIBLE = frozenset({5, 6, 8, 13, 15, 17, 18, 19, 20, 25, 27})

#: Files whose nouns are only used in the first prompt: act, communication, group, quantity.
OTHERS = frozenset({4, 10, 14, 23})

#: The files of animals and plants, and prefixes of taxonomic groups, which are excluded.
SPECIES = frozenset({5, 20})
TAXA = ("genus ", "family ", "order ", "class ", "division ", "subfamily ", "suborder ", "phylum ")

#: The evaluation prompt, and synonymous prompts, for which the teacher encodes the first.
FIRST = "a photo of a {}."
NEUTRAL = (
    "{}",
    "{}.",
    "a {}",
    "a {}.",
    "the {}.",
    "a photo of {}.",
    "a photo of a {}",
    "a photo of the {}.",
    "an image of a {}.",
    "a picture of a {}.",
    "this is a {}.",
)

#: Prompts with other kinds of pictures, in addition to the 80 of open_clip.
STYLES = (
    "a centered satellite photo of {}.",
    "an aerial view of {}.",
    "a microscope image of {}.",
    "a photo of a person with {}.",
    "a texture of {}.",
    "a handwritten {}.",
    "there is a {} in the scene.",
)

#: Sentences that change the content of the picture, with an adjective or another noun.
MIXTURES = (
    "{adjective} {noun}",
    "a photo of a {adjective} {noun}.",
    "{other} {adjective} {noun}.",
    "{other} {noun}",
    "{other} {noun}.",
    "{adjective} {other} of a {noun}.",
    "a {noun} with a {other}.",
    "a photo of a {noun} on a {other}.",
    "a {noun} next to the {adjective} {other}.",
)


@dataclass(frozen=True)
class Synset:
    """A noun synset: its offset, lexicographer file, names, definition and parents' offsets.

    An instance is an individual person or place, such as Paris.
    """

    offset: str
    lexfile: int
    lemmas: tuple[str, ...]
    gloss: str
    hypernyms: tuple[str, ...]
    is_instance: bool


@dataclass(frozen=True)
class Noun:
    """A name and the synset that is assumed to be its meaning."""

    name: str
    synset: Synset


@dataclass(frozen=True)
class Phrase:
    """A training text, the sentence that the teacher encodes for it, and its noun.

    `noun` indexes a list of nouns; `known` is the weight of that noun's own vector.
    """

    text: str
    sentence: str
    noun: int
    known: float


def parse_synset(line: str) -> Synset:
    """Parse one line of a WordNet data file (its manual calls the format ``wndb``)."""
    head, _, gloss = line.partition(" | ")
    fields = head.split()
    names = 4 + 2 * int(fields[3], 16)
    lemmas = tuple(word.replace("_", " ") for word in fields[4:names:2])
    pointers = fields[names + 1 :]
    parents = tuple(
        pointers[i + 1] for i in range(0, len(pointers) - 3, 4) if pointers[i] in ("@", "@i")
    )
    definition = gloss.split('; "')[0].strip(" ;\n")
    return Synset(fields[0], int(fields[1]), lemmas, definition, parents, "@i" in pointers)


def short(gloss: str, words: int) -> str:
    """Cut a definition to its first clause and at most `words` words."""
    return " ".join(gloss.split(";")[0].split()[:words])


def plural(name: str) -> str:
    """Return the regular plural."""
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"


class WordNet:
    """The noun part of a WordNet folder, such as Debian's ``/usr/share/wordnet``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.synsets = {s.offset: s for s in map(parse_synset, self._lines("data.noun"))}

    def _lines(self, name: str) -> Iterator[str]:
        with open(self._folder / name, encoding="utf-8") as lines:
            yield from (line for line in lines if not line.startswith("  "))  # skip the licence

    @cached_property
    def nouns(self) -> list[Noun]:
        """The names of visible and some other things, each with its most frequent visible sense.

        Individual people and places, and Latin names of species with another name, are excluded.
        """
        latin = {
            lemma.lower()
            for synset in self.synsets.values()
            if synset.lexfile in SPECIES
            for lemma in synset.lemmas[1:]
            if lemma[0].isupper() and " " in lemma
        }
        nouns = []
        for line in self._lines("index.noun"):
            fields = line.split()
            name = fields[0].replace("_", " ")
            senses = [self.synsets[offset] for offset in fields[-int(fields[2]) :]]
            senses = [s for s in senses if not s.is_instance]
            senses.sort(key=lambda s: s.lexfile not in VISIBLE)
            fits = senses and senses[0].lexfile in VISIBLE | OTHERS
            if fits and name not in latin and not name.startswith(TAXA):
                nouns.append(Noun(name, senses[0]))
        return nouns

    @cached_property
    def adjectives(self) -> list[str]:
        """The one-word adjectives that are the first name of a synset."""
        heads = (line.split()[4].split("(")[0] for line in self._lines("data.adj"))
        return sorted({word for word in heads if word.isalpha() and word.islower()})

    def ancestors(self, offset: str) -> list[str]:
        """Return the offsets of the synset and its ancestors, nearest first."""
        found = [offset]
        for synset in found:  # the list grows during iteration
            found += [up for up in self.synsets[synset].hypernyms if up not in found]
        return found


def build(wordnet: WordNet, nouns: Sequence[Noun], often: Sequence[int], seed: int) -> list[Phrase]:
    """Generate phrases about `nouns`, with more phrases for those whose indices are in `often`.

    `seed` determines all random choices and the order.
    """
    rng = np.random.default_rng(seed)
    styles = [*(template("{}") for template in OPENAI_IMAGENET_TEMPLATES), *STYLES]
    visible = [i for i, noun in enumerate(nouns) if noun.synset.lexfile in VISIBLE]

    def pick(words: Sequence[str]) -> str:
        return words[int(rng.integers(len(words)))]

    def neutral(i: int, form: Callable[[str], str] = str) -> Phrase:
        name = nouns[i].name
        return Phrase(pick(NEUTRAL).format(form(name)), FIRST.format(name), i, 1.0)

    def literal(text: str, i: int, known: float) -> Phrase:
        return Phrase(text, text, i, known)

    def mixture(i: int) -> Phrase:
        other = nouns[visible[rng.integers(len(visible))]].name
        text = pick(MIXTURES).format(
            noun=nouns[i].name, other=other, adjective=pick(wordnet.adjectives)
        )
        return literal(text, i, 0.5)

    def styled(i: int) -> Phrase:
        return literal(pick(styles).format(nouns[i].name), i, 1.0)

    phrases = [literal(FIRST.format(noun.name), i, 1.0) for i, noun in enumerate(nouns)]
    phrases += [neutral(i) for i in visible]
    phrases += [styled(i) for i in visible if rng.random() < 0.25]
    phrases += [make(i) for i in often for make in (neutral, neutral, styled, styled, styled)]
    phrases += [mixture(i) for i in visible if rng.random() < 0.35]
    glosses: dict[str, int] = {}
    for i in visible:
        glosses.setdefault(short(nouns[i].synset.gloss, 12), i)
    phrases += [literal(text, i, 0.5) for text, i in glosses.items() if rng.random() < 0.2]
    phrases += [neutral(i, plural) for i in visible if rng.random() < 0.4]
    phrases += [neutral(i, plural) for i in often]
    return [phrases[i] for i in rng.permutation(len(phrases))]

"""Reading WordNet's files, on a dictionary of nine nouns."""

import pytest

from craft_zoo.mini.training.corpus import (
    FIRST,
    VISIBLE,
    WordNet,
    build,
    parse_synset,
    plural,
    short,
)

LICENCE = "  1 This software and database is being provided to you, the LICENSEE\n"
NOUNS = """\
00000001 03 n 01 entity 0 000 | that which is perceived
00000010 05 n 02 animal 0 beast 0 001 @ 00000001 n 0000 | a living organism; "it moves"
00000020 05 n 02 okapi 0 Okapia_johnstoni 0 002 @ 00000010 n 0000 %p 00000040 n 0000 | similar to \
the giraffe; but smaller; "an okapi"
00000030 15 n 01 Paris 0 001 @i 00000001 n 0000 | the capital of France
00000040 06 n 01 sailing_boat 0 001 @ 00000001 n 0000 | a small boat
00000050 09 n 01 boat 0 001 @ 00000001 n 0000 | a shared fate
00000060 06 n 01 boat 0 001 @ 00000001 n 0000 | a small vessel
00000070 05 n 01 genus_Okapia 0 001 @ 00000001 n 0000 | okapis
"""
INDEX = """\
animal n 1 1 @ 1 1 00000010
beast n 1 1 @ 1 1 00000010
boat n 2 1 @ 2 1 00000050 00000060
entity n 1 0 1 1 00000001
genus_okapia n 1 1 @ 1 0 00000070
okapi n 1 2 @ %p 1 0 00000020
okapia_johnstoni n 1 2 @ %p 1 0 00000020
paris n 1 1 @i 1 0 00000030
sailing_boat n 1 1 @ 1 0 00000040
"""
ADJECTIVES = """\
00000001 00 a 01 red 0 000 | of the colour of blood
00000002 00 a 01 elect(ip) 0 000 | chosen
00000003 00 a 01 well-fed 0 000 | properly nourished
"""


@pytest.fixture
def wordnet(tmp_path):
    for name, text in (("data.noun", NOUNS), ("index.noun", INDEX), ("data.adj", ADJECTIVES)):
        (tmp_path / name).write_text(LICENCE + text)
    return WordNet(tmp_path)


def test_parse_synset():
    synset = parse_synset(NOUNS.splitlines()[2])
    assert synset.offset == "00000020"
    assert synset.lexfile == 5
    assert synset.lemmas == ("okapi", "Okapia johnstoni")
    assert synset.gloss == "similar to the giraffe; but smaller"
    assert synset.hypernyms == ("00000010",)
    assert not synset.is_instance


def test_count_of_names_is_hexadecimal():
    words = " ".join(f"w{i} 0" for i in range(10))
    assert len(parse_synset(f"00000001 06 n 0a {words} 000 | things").lemmas) == 10


def test_nouns_in_their_visible_sense(wordnet):
    senses = {noun.name: noun.synset.offset for noun in wordnet.nouns}
    assert senses == {
        "animal": "00000010",
        "beast": "00000010",
        "boat": "00000060",
        "okapi": "00000020",
        "sailing boat": "00000040",
    }


def test_adjectives(wordnet):
    assert wordnet.adjectives == ["elect", "red"]


def test_ancestors_nearest_first(wordnet):
    assert wordnet.ancestors("00000020") == ["00000020", "00000010", "00000001"]


@pytest.mark.parametrize(
    ("one", "many"),
    [("airplane", "airplanes"), ("stop watch", "stop watches"), ("sky", "skies"), ("ray", "rays")],
)
def test_plural(one, many):
    assert plural(one) == many


def test_short():
    assert short("one two three; four", 2) == "one two"
    assert short("one two three; four", 9) == "one two three"


def test_corpus_is_seeded_and_names_every_noun(wordnet):
    nouns = wordnet.nouns
    phrases = build(wordnet, nouns, [0], seed=1)
    assert phrases == build(wordnet, nouns, [0], seed=1)
    assert phrases != build(wordnet, nouns, [0], seed=2)
    assert {FIRST.format(noun.name) for noun in nouns} <= {phrase.text for phrase in phrases}
    assert all(nouns[phrase.noun].synset.lexfile in VISIBLE for phrase in phrases)
    assert not any("{" in phrase.text for phrase in phrases)

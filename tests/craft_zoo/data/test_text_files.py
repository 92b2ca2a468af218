"""Text files and class names in all supported encodings."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_zoo.data import read_classnames, readable
from craft_zoo.data.naming import composed, reads_as
from craft_zoo.data.text_files import read_text
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable

# What a class can be called in a line of a file: no separators of lines or columns, no "#" first.
WORDS = st.from_regex(r"[^\W_][\w '’&+-]{0,8}[^\W_]", fullmatch=True)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"])


@given(st.dictionaries(WORDS.map(composed), WORDS.map(composed), max_size=5), ENCODINGS,
       st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(["NFC", "NFD"]))  # fmt: skip
def test_class_names_are_the_same_however_the_file_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    names: dict[str, str],
    encoding: str,
    end: str,
    form: str,
) -> None:
    file = tmp_path_factory.mktemp("names") / "names.txt"
    lines = [f"{folder}\t{words}" for folder, words in names.items()]
    text = unicodedata.normalize(form, end.join(["# classes", "", *lines, ""]))  # type: ignore[arg-type]
    file.write_bytes(text.encode(encoding))
    assert read_classnames(file) == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tb\rcaf\xe9\tx\r", "cannot be read as UTF-8 in line 2: save the file as UTF-8"),
        (b"\xff\xfea", "cannot be read as UTF-16: save"),
        ("a\tb\n".encode("utf-16-le"), "has null characters: save it as UTF-8"),
        (b"cat\ta\ncat\tb\n", "line 2: class 'cat' has two lines, with 'a' and 'b'"),
        ("cat\t\u200b\n".encode(), "line 1: expected 'folder<tab>words'"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes(content)
    with pytest.raises(CraftZooError, match=message):
        read_classnames(file)


def test_a_folder_with_spaces_and_a_tab(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text(" Faces easy \t a face \nn01440764 tench, Tinca\n")
    assert read_classnames(file) == {"Faces easy": "a face", "n01440764": "tench, Tinca"}


@given(st.binary(max_size=40))
def test_no_bytes_are_a_surprise(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("bytes") / "names.txt"
    file.write_bytes(content)
    try:
        text = read_text(file)
    except CraftZooError as error:
        assert "UTF-8" in str(error)  # noqa: PT017
    else:
        assert "\r" not in text
        assert "\0" not in text


@given(st.text(max_size=12))
def test_names_can_be_printed_and_read_alike_in_every_form(name: str) -> None:
    assert printable(name).isprintable()
    printable(name).encode()
    for form in ("NFC", "NFD"):
        assert reads_as(unicodedata.normalize(form, name)) == reads_as(name)  # type: ignore[arg-type]
        assert readable(unicodedata.normalize(form, name)) == readable(name)  # type: ignore[arg-type]

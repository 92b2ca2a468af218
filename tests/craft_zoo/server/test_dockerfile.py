"""The Dockerfile agrees with the command, the package and the routes."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from craft_zoo.cli.main import build_parser
from craft_zoo.protocol import paths

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) in order."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.split("\n"))]


def last(instructions: list[tuple[str, str]], name: str) -> str:
    return [rest for each, rest in instructions if each == name][-1]


def test_it_has_known_instructions_and_ends_without_root(
    instructions: list[tuple[str, str]],
) -> None:
    known = {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "VOLUME", "USER", "EXPOSE"}
    assert {name for name, _ in instructions} <= known | {"HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT"}
    bases = [rest.split()[0] for name, rest in instructions if name == "FROM"]
    assert len(set(bases)) == 1  # an environment is bound to its interpreter
    assert bases[0].endswith("-slim")
    user = last(instructions, "USER")
    assert user not in ("root", "0")
    assert any(
        f"--uid 10001 --user-group --no-create-home {user}" in rest for _, rest in instructions
    )


def test_the_command_is_one_that_both_uses_extend(instructions: list[tuple[str, str]]) -> None:
    program, *words = json.loads(last(instructions, "ENTRYPOINT"))
    assert program == "craft-zoo"
    parser = build_parser(["serve"])
    for more in (["--model", "craft-mini"], ["--adapter", "a"], ["--new-key", "ann"]):
        options = parser.parse_args([*words, *more])
        assert str(options.port) == last(instructions, "EXPOSE")
        assert options.host == "0.0.0.0"
        volumes = [Path(each) for each in json.loads(last(instructions, "VOLUME"))]
        assert {options.keys.parent, options.state} <= set(volumes)
    check = last(instructions, "HEALTHCHECK")
    assert f"http://127.0.0.1:{options.port}{paths.READY}'" in check
    code = json.loads(check.partition("CMD ")[2])
    assert code[:2] == ["python", "-c"]
    compile(code[2], "HEALTHCHECK", "exec")


def test_it_copies_and_installs_what_there_is(instructions: list[tuple[str, str]]) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = [
        source
        for name, rest in instructions
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert sorted(copied) == sorted(kept)
    assert all((ROOT / source).exists() for source in copied)
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {about["readme"], *about["license-files"]} <= set(copied)
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", str(instructions))
    assert set(extras.split(",")) <= about["optional-dependencies"].keys()

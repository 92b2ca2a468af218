"""The shell completes commands and options by what craft-zoo completion prints."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from craft_zoo.cli import main

pytest.importorskip("shtab")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out + (
        "COMP_WORDS=(craft-zoo ev); COMP_CWORD=1; _shtab_craft_zoo; echo ${COMPREPLY[@]}\n"
        "COMP_WORDS=(craft-zoo tune --meth); COMP_CWORD=2; _shtab_craft_zoo; echo ${COMPREPLY[@]}\n"
    )
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["evaluate", "--method"]

"""Journals in the folders of adapters, with which interrupted commands continue, paying once."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from craft_zoo.blackbox import VLM, Journal, ReplayVLM
from craft_zoo.cli.progress import saying


@contextmanager
def continuing(path: Path, console: Console, more: str = "") -> Iterator[Journal]:
    """The journal of a command, which says whether it continues, and how if it is interrupted.

    Args:
        path: the journal's file.
        console: where that is said.
        more: added to the sentence after an interruption.
    """
    text = f"Stopped. Rerun the same command to continue{more}."
    with saying(text, console), Journal(path) as journal:
        if journal.replaying:
            console.print("Continuing where it was stopped")
        yield journal


@contextmanager
def resumable(
    vlm: VLM, adapter: Path, command: str, about: Sequence[str], console: Console
) -> Iterator[VLM]:
    """The model with a journal if it bills, else the model itself.

    The journal is in the adapter's folder, or in the working folder if that one is read-only. It is
    removed at the end of the context, and kept if the command is interrupted or fails.

    Args:
        vlm: the model.
        adapter: the adapter's file.
        command: name of the command.
        about: arguments that say about which images it asks; others have a journal of their own.
        console: says that the command continues, or is interrupted.

    Raises:
        Busy: the same command is running.
        CraftZooError: the journal is of another version, damaged, or cannot be written.
    """
    if not vlm.bills:
        yield vlm
        return
    folder = adapter.parent if os.access(adapter.parent, os.W_OK) else Path()
    arguments = json.dumps([vlm.name, vlm.answer_options, *about]).encode()
    name = hashlib.blake2b(arguments, digest_size=4).hexdigest()
    path = folder / f"{adapter.name}.{command}-{name}.journal"
    with continuing(path, console, f"; {path} holds the answers so far") as journal:
        yield ReplayVLM(vlm, journal)
        sys.stdout.flush()  # on a full disk it fails, and the answers are still needed
        journal.remove()

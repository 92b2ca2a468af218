"""Archives of runs: the records of a results folder and their JSON schema, in one file."""

from __future__ import annotations

import io
import json
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from craft_zoo.benchmarks.store import RECORD_BYTES, record_schema
from craft_zoo.errors import CraftZooError
from craft_zoo.files import write_atomically, writing

CONFIG, CONFIG_BYTES = "config.json", 2**25
_SCHEMA = "schema.json"
_RECORD_NAME = re.compile(r"(?:\./)?runs/[^/]+/run\.json")


def write_archive(folder: Path, path: Path) -> int:
    """Write the records of a results folder as one tar.xz file, and return their number.

    The file contains ``runs/<identity>/run.json`` of each finished run, ``config.json``, and
    ``schema.json``, the JSON schema of a record. Adapters and journals are left out. Equal records
    make equal files.

    Args:
        folder: of a ``craft-zoo bench``.
        path: the archive, in an existing folder.

    Raises:
        CraftZooError: the folder has no finished run, or the archive cannot be written.
    """
    records = sorted((folder / "runs").glob("*/run.json"))
    if not records:
        raise CraftZooError(f"{folder} holds no finished run: give the folder of a craft-zoo bench")
    content = io.BytesIO()
    with writing(path, "choose another file (--archive)"):
        with tarfile.open(fileobj=content, mode="w:xz", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, _SCHEMA, json.dumps(record_schema(), indent=1).encode())
            for file in [folder / CONFIG, *records]:
                if file.exists():
                    _add(archive, file.relative_to(folder).as_posix(), file.read_bytes())
        write_atomically(path, content.getvalue())
    return len(records)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # without owner and time, so that equal records make equal files
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of ``config.json`` and of each record in an archive; nothing is unpacked.

    Raises:
        CraftZooError: the file is no archive, or one of these is too large.
    """
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                config = member.name.removeprefix("./") == CONFIG
                if not member.isfile() or not (config or _RECORD_NAME.fullmatch(member.name)):
                    continue
                limit = CONFIG_BYTES if config else RECORD_BYTES
                if member.size > limit:
                    raise CraftZooError(
                        f"{member.name} in {path} has more than {limit:,} bytes: it is no record "
                        f"of craft-zoo, give another archive"
                    )
                file = archive.extractfile(member)
                assert file is not None
                yield member.name.removeprefix("./"), file.read()
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise CraftZooError(
            f"{path} cannot be read as an archive of runs ({error}): make one with "
            f"craft-zoo report DIR --archive FILE"
        ) from None

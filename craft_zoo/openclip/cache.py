"""Cache of image features on disk, so that a model encodes each image only once."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import warnings
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from craft_zoo.files import expanded

if TYPE_CHECKING:
    from torch import nn

_VERSION = "1"  # to be raised when the features of a key change
_VARIABLES = 500  # keys in a statement; SQLite allows 999 variables
_TIMEOUT = 10  # seconds to wait for a lock of another process


def cache_folder() -> Path:
    """Folder of the cache: ``$CRAFT_ZOO_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("CRAFT_ZOO_CACHE")
    return expanded(chosen) if chosen else Path(platformdirs.user_cache_dir("craft-zoo"))


class FeatureCache:
    """Image features of one model, by content hash of the image.

    Each model has one SQLite file, which several processes may read and write concurrently. If the
    file cannot be used, one warning is issued, and nothing is cached from then on.

    Args:
        model: hash of the model's weights and preprocessing, see :func:`module_key`.
        folder: folder of the file; created when needed.
    """

    def __init__(self, model: str, folder: Path) -> None:
        self.path = folder / f"features-{_VERSION}-{model[:32]}.sqlite"
        self._usable = True

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The cached float32 features (dim,), by key."""
        found: dict[bytes, np.ndarray] = {}
        if not self._usable:
            return found
        try:
            if not self.path.exists():
                return found
            with closing(self._connect()) as database:
                for first in range(0, len(keys), _VARIABLES):
                    some = keys[first : first + _VARIABLES]
                    marks = ",".join("?" * len(some))
                    rows = database.execute(
                        f"SELECT key, features, checksum FROM features WHERE key IN ({marks})", some
                    )
                    for key, blob, checksum in rows:
                        if zlib.crc32(blob) == checksum:
                            found[key] = np.frombuffer(blob, dtype="<f4")
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self._give_up(error)
        return found

    def put(self, keys: Sequence[bytes], features: np.ndarray) -> None:
        """Store features, (n, dim) float32."""
        if not self._usable:
            return
        blobs = [row.astype("<f4").tobytes() for row in features]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as database, database:
                database.executemany(
                    "INSERT OR REPLACE INTO features VALUES (?, ?, ?)",
                    [(key, blob, zlib.crc32(blob)) for key, blob in zip(keys, blobs, strict=True)],
                )
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=_TIMEOUT)
        try:
            database.execute(
                "CREATE TABLE IF NOT EXISTS features "
                "(key BLOB PRIMARY KEY, features BLOB NOT NULL, checksum INTEGER NOT NULL)"
            )
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _give_up(self, error: Exception) -> None:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return  # another process held the lock for too long; the cache is still usable
        self._usable = False
        warnings.warn(
            f"the feature cache {self.path} cannot be used ({error}), so images are encoded "
            f"again: delete it, or choose another folder with CRAFT_ZOO_CACHE",
            stacklevel=3,
        )


# Attributes of modules that have no effect on answers.
_NO_SETTINGS = frozenset({"training", "name_or_path"})


def module_key(module: nn.Module, *more: object) -> str:
    """SHA-256 of a module's structure, settings and weights, and of the ``repr`` of ``more``.

    The representation of a module lacks settings such as the number of attention heads and the kind
    of pooling, so all plain attributes of its parts are included.
    """
    digest = hashlib.sha256(repr((module, *more)).encode())
    for name, part in module.named_modules():
        settings = {
            key: value
            for key, value in sorted(vars(part).items())
            if isinstance(value, bool | int | float | str | tuple)
            and key not in _NO_SETTINGS
            and not key.startswith("_")
        }
        digest.update(f"{name} {settings}".encode())
    _add_weights(digest, module)
    return digest.hexdigest()


def weights_key(module: nn.Module, *more: str) -> str:
    """SHA-256 of a module's weights and of strings.

    Other than :func:`module_key`, it stays the same with other versions of the packages.
    """
    digest = hashlib.sha256(repr(more).encode())
    _add_weights(digest, module)
    return digest.hexdigest()


def _add_weights(digest: hashlib._Hash, module: nn.Module) -> None:
    import torch  # the extra torch, which other uses of this file do not need

    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)

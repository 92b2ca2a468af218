"""Accounts and their keys, of which hashes alone are kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from craft_zoo.errors import CraftZooError
from craft_zoo.files import replacing


@dataclass(frozen=True)
class Account:
    """Who may ask.

    Attributes:
        name: by which it is billed.
        key_sha256: hash of its key, hexadecimal.
        quota: predictions that it may make in all; None: any number.
    """

    name: str
    key_sha256: str
    quota: int | None = None


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    key_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    quota: Annotated[int, Field(ge=0)] | None = None


_FILE = TypeAdapter(dict[str, _Entry])


class Accounts:
    """All who may ask.

    Raises:
        CraftZooError: there is none, or two have the same key.
    """

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._accounts = tuple(accounts)
        if not self._accounts:
            raise CraftZooError(
                "there is no account, so nobody could ask: make a key with "
                "craft-zoo serve --new-key NAME --keys FILE"
            )
        if len({account.key_sha256 for account in self._accounts}) < len(self._accounts):
            raise CraftZooError("two accounts have the same key: give each its own")

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts)

    @classmethod
    def read(cls, path: Path) -> Accounts:
        """The accounts of a file of keys.

        Raises:
            CraftZooError: it is missing or not as it should be.
        """
        return cls(_read(path))

    def find(self, key: str) -> Account | None:
        """Whose key it is; takes as long for any key."""
        digest, found = key_hash(key).encode(), None
        for account in self._accounts:
            if hmac.compare_digest(digest, account.key_sha256.encode()):
                found = account
        return found


def key_hash(key: str) -> str:
    """What is kept of a key; a key is random and long, so that a plain hash hides it."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_account(name: str, quota: int | None = None) -> tuple[Account, str]:
    """An account, and its key, which cannot be found out again."""
    key = f"cz-{secrets.token_urlsafe(32)}"
    return Account(name, key_hash(key), quota), key


def add_account(path: Path, name: str, quota: int | None = None) -> str:
    """Write a new account to a file of keys, which is made where there is none; returns its key.

    A new file is its owner's alone; one that there is stays whose it is, and as readable: a server
    may run as another user than who makes keys.

    Raises:
        CraftZooError: there is one of that name, or the file cannot be read or written.
    """
    if not name.strip() or not name.isprintable():
        raise CraftZooError(f"{name!r} is no name of an account: use letters")
    if quota is not None and quota < 0:
        raise CraftZooError(f"the quota of {name} must not be negative, it is {quota}")
    accounts = _read(path) if path.exists() else []
    if any(account.name == name for account in accounts):
        raise CraftZooError(
            f"{path} has an account {name} already: choose another name, or remove it first"
        )
    account, key = new_account(name, quota)
    entries = {
        each.name: {"key_sha256": each.key_sha256, "quota": each.quota}
        for each in (*accounts, account)
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, 0o600) as beside:
            beside.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", "utf-8")
            _make_like(beside, path)
    except OSError as error:
        raise CraftZooError(
            f"the keys cannot be written to {path} ({error.strerror}): run this as the file's owner"
        ) from None
    return key


def _make_like(new: Path, old: Path) -> None:
    """Give a file the owner and the mode of the one that it replaces."""
    mode = 0o600
    if old.exists():
        about, own = old.stat(), new.stat()
        mode = stat.S_IMODE(about.st_mode)
        if (about.st_uid, about.st_gid) != (own.st_uid, own.st_gid):
            os.chown(new, about.st_uid, about.st_gid)
    os.chmod(new, mode)


def _read(path: Path) -> list[Account]:
    try:
        entries = _FILE.validate_json(path.read_bytes())
    except OSError as error:
        raise CraftZooError(
            f"the file of keys {path} cannot be read ({error.strerror}): check the path, or make "
            f"one with craft-zoo serve --new-key NAME --keys {path}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = " of ".join(str(each) for each in reversed(first["loc"])) or "all"
        raise CraftZooError(
            f"the file of keys {path} is not as it should be ({place}: {first['msg']}): write "
            f'{{"account": {{"key_sha256": "…", "quota": null}}}}'
        ) from None
    return [Account(name, entry.key_sha256, entry.quota) for name, entry in entries.items()]

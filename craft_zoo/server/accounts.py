"""Accounts and their API keys. Only the SHA-256 hashes of keys are stored."""

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
    """A client account.

    Attributes:
        name: unique name, which bills and logs refer to.
        key_sha256: SHA-256 of its API key, 64 lower-case hexadecimal digits.
        quota: total number of predictions, (prompt, image) pairs, it may make; None: unlimited.
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
    """All accounts of a server.

    Raises:
        CraftZooError: there is no account, or two accounts have the same key.
    """

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._accounts = tuple(accounts)
        if not self._accounts:
            raise CraftZooError(
                "there is no account, so no client could connect: make a key with "
                "craft-zoo serve --new-key NAME --keys FILE"
            )
        if len({account.key_sha256 for account in self._accounts}) < len(self._accounts):
            raise CraftZooError("two accounts have the same key: give each its own")

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts)

    @classmethod
    def read(cls, path: Path) -> Accounts:
        """Read the accounts from a JSON key file.

        Raises:
            CraftZooError: the file is missing or malformed, or as the constructor raises.
        """
        return cls(_read(path))

    def find(self, key: str) -> Account | None:
        """The account with this key, or None. The time taken does not depend on the key."""
        digest, found = key_hash(key).encode(), None
        for account in self._accounts:
            if hmac.compare_digest(digest, account.key_sha256.encode()):
                found = account
        return found


def key_hash(key: str) -> str:
    """SHA-256 of a key, hexadecimal. Keys are long and random, so that no salt is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_account(name: str, quota: int | None = None) -> tuple[Account, str]:
    """Create an account and its key. The key cannot be recovered from the account."""
    key = f"cz-{secrets.token_urlsafe(32)}"
    return Account(name, key_hash(key), quota), key


def add_account(path: Path, name: str, quota: int | None) -> str:
    """Add a new account to a key file, which is created if missing, and return the account's key.

    A new file is readable by its owner only (mode 0600). An existing file keeps its owner and mode,
    because the server may run as another user than the one that creates keys.

    Raises:
        CraftZooError: the name or quota is invalid or the name taken, or a file operation fails.
    """
    if not name.strip() or not name.isprintable():
        raise CraftZooError(f"{name!r} is not a valid account name: use letters")
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
            if path.exists():
                _make_like(beside, path)
    except OSError as error:
        raise CraftZooError(
            f"the keys cannot be written to {path} ({error.strerror}): run this as the file's owner"
        ) from None
    return key


def _make_like(new: Path, old: Path) -> None:
    """Copy the owner and mode of the file that is about to be replaced."""
    about, own = old.stat(), new.stat()
    if (about.st_uid, about.st_gid) != (own.st_uid, own.st_gid):
        os.chown(new, about.st_uid, about.st_gid)
    os.chmod(new, stat.S_IMODE(about.st_mode))


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
            f"the file of keys {path} is invalid ({place}: {first['msg']}): write "
            f'{{"account": {{"key_sha256": "…", "quota": null}}}}'
        ) from None
    return [Account(name, entry.key_sha256, entry.quota) for name, entry in entries.items()]

"""What accounts have opened: image sets and classifiers, equal ones computed once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from craft_zoo.blackbox import BlackBox, ImageSet
from craft_zoo.serve.refusal import Refusal
from craft_zoo.serve.uploads import UploadedImage
from craft_zoo.wire import ErrorCode

Thing = TypeVar("Thing")


class Shelves(Generic[Thing]):
    """Things by account and id; no account sees another's.

    Args:
        most: things of an account; the one that was used longest ago goes first.
        code: of the refusal where there is none of that id.
        missing: its sentence.
    """

    def __init__(self, most: int, code: ErrorCode, missing: str) -> None:
        self._most, self._code, self._missing = most, code, missing
        self._shelves: dict[str, OrderedDict[str, Thing]] = {}

    def put(self, account: str, id: str, thing: Thing) -> None:
        """Keep a thing; the one that has not been used for longest may go."""
        shelf = self._shelves.setdefault(account, OrderedDict())
        shelf[id] = thing
        shelf.move_to_end(id)
        if len(shelf) > self._most:
            shelf.popitem(last=False)

    def find(self, account: str, id: str) -> Thing | None:
        """The thing of that id, used now."""
        shelf = self._shelves.get(account, OrderedDict())
        if id in shelf:
            shelf.move_to_end(id)
        return shelf.get(id)

    def get(self, account: str, id: str) -> Thing:
        """As :meth:`find`.

        Raises:
            Refusal: the account has none.
        """
        thing = self.find(account, id)
        if thing is None:
            raise Refusal(self._code, self._missing)
        return thing

    def remove(self, account: str, id: str) -> None:
        """Forget a thing, see :meth:`get`."""
        self.get(account, id)
        del self._shelves[account][id]

    def all_of(self, account: str) -> list[Thing]:
        """The things of an account."""
        return list(self._shelves.get(account, {}).values())


class Shared(Generic[Thing]):
    """Things by their content, as long as somebody holds them."""

    def __init__(self) -> None:
        self._things: WeakValueDictionary[Hashable, Thing] = WeakValueDictionary()

    def get(self, content: Hashable, make: Callable[[], Thing]) -> Thing:
        """The thing, made where there is none. For one thread only, as two could both make it."""
        thing = self._things.get(content)
        if thing is None:
            thing = make()
            self._things[content] = thing
        return thing

    def __len__(self) -> int:
        return len(self._things)


@dataclass(eq=False)
class Encoded:
    """Images that the model has encoded, for all accounts that have sent them.

    Attributes:
        images: the model's.
    """

    images: ImageSet


@dataclass(eq=False)
class Opened:
    """The model opened on class names, for all accounts that have asked for them.

    Attributes:
        box: the model's.
    """

    box: BlackBox


@dataclass(eq=False)
class AccountImages:
    """An image set of an account.

    Attributes:
        digests: SHA-256 of each image's file, hexadecimal, in order.
        images: those that came, by digest.
        encoded: all of them, once the model has them.
    """

    digests: tuple[str, ...]
    images: dict[str, UploadedImage] = field(default_factory=dict)
    encoded: Encoded | None = None

    @property
    def missing(self) -> list[int]:
        """Places of the images that have not come, of equal ones the first."""
        if self.encoded:
            return []
        first = {digest: place for place, digest in reversed(list(enumerate(self.digests)))}
        return sorted(place for digest, place in first.items() if digest not in self.images)

    @property
    def kept_bytes(self) -> int:
        """Of files."""
        return sum(image.size for image in self.images.values())


def content_id(kind: str, account: str, *content: str) -> str:
    """An id that an account's equal things share, and nobody else's."""
    digest = hashlib.sha256()
    for part in (kind, account, *content):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()[:32]

"""Caches of image sets and opened classifiers by account; equal ones are computed once."""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from craft_zoo.blackbox import BlackBox, ImageSet
from craft_zoo.protocol import ErrorCode
from craft_zoo.server.errors import Refusal
from craft_zoo.server.uploads import UploadedImage

Thing = TypeVar("Thing")


_IMAGE_BYTES = 2**12  # of an encoded image: its features, its hash, and what leads to them
_OPENED_BYTES = 2**13  # of a classifier beside its tensors and names; 2.5 to 5 kB were measured


class AccountCache(Generic[Thing]):
    """Things by account and id; no account sees another's.

    Where an account has too many or too large things, the least recently used are dropped; a
    single thing may exceed the limit.

    Args:
        most: things that an account may have.
        code: of the refusal where an id is unknown.
        missing: the sentence of that refusal.
        room: bytes that an account's things may take.
        size: returns the bytes that a thing takes now.
    """

    def __init__(
        self,
        most: int,
        code: ErrorCode,
        missing: str,
        *,
        room: int | None = None,
        size: Callable[[Thing], int] = lambda _: 0,
    ) -> None:
        self._most, self._code, self._missing = most, code, missing
        self._room, self._size = room, size
        self._shelves: dict[str, OrderedDict[str, Thing]] = {}

    def put(self, account: str, id: str, thing: Thing) -> None:
        """Keep a thing; the least recently used may be dropped."""
        shelf = self._shelves.setdefault(account, OrderedDict())
        shelf[id] = thing
        shelf.move_to_end(id)
        self.make_room(account)

    def make_room(self, account: str) -> None:
        """Drop the account's least recently used things until the rest fits."""
        shelf = self._shelves.get(account, OrderedDict())
        while len(shelf) > 1 and (len(shelf) > self._most or self._is_full(shelf)):
            shelf.popitem(last=False)

    def find(self, account: str, id: str) -> Thing | None:
        """The thing of an id, which counts as used now; None: there is none."""
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

    def _is_full(self, shelf: OrderedDict[str, Thing]) -> bool:
        return self._room is not None and sum(map(self._size, shelf.values())) > self._room


class SharedCache(Generic[Thing]):
    """Things by their content, for as long as an account's cache holds them."""

    def __init__(self) -> None:
        self._things: WeakValueDictionary[Hashable, Thing] = WeakValueDictionary()

    def get(self, content: Hashable, make: Callable[[], Thing]) -> Thing:
        """The thing, made if there is none; for one thread only, as two could both make it."""
        thing = self.find(content)
        return self.put(content, make()) if thing is None else thing

    def find(self, content: Hashable) -> Thing | None:
        """The thing, None where there is none."""
        return self._things.get(content)

    def put(self, content: Hashable, thing: Thing) -> Thing:
        """The thing, or the one that came first."""
        return self._things.setdefault(content, thing)

    def __len__(self) -> int:
        return len(self._things)


@dataclass(eq=False)
class Encoded:
    """Images that the model has encoded, shared by all accounts that have sent them.

    Attributes:
        images: the model's.
    """

    images: ImageSet


@dataclass(eq=False)
class Opened:
    """The model opened on class names, shared by all accounts that have asked for them.

    Attributes:
        box: the model's.
    """

    box: BlackBox

    @cached_property
    def _names_bytes(self) -> int:
        return sum(sys.getsizeof(name) for name in self.box.classnames)

    @property
    def size(self) -> int:
        """Bytes that it takes now."""
        return _OPENED_BYTES + self._names_bytes + self.box.held_bytes


class AccountImages:
    """An image set of an account.

    Args:
        digests: SHA-256 of each image's file, hexadecimal, in order.
        is_cached: whether the model's feature cache may get them.

    Attributes:
        digests: as given.
        is_cached: as given.
        images: those that came, by digest; none any more where the set is encoded and their files
            are not kept.
        encoded: all of them, once the model has them.
        keeps_files: whether their files are kept until all have come, as the model has forgotten
            some of them or is to remember none.
        kept_bytes: of files.
    """

    def __init__(self, digests: tuple[str, ...], *, is_cached: bool = True) -> None:
        self.digests, self.is_cached = digests, is_cached
        self.images: dict[str, UploadedImage] = {}
        self.encoded: Encoded | None = None
        self.keeps_files = not is_cached
        self.kept_bytes = 0
        self._missing = self._places()

    @property
    def missing(self) -> list[int]:
        """Places of the images that have not come, of equal ones the first."""
        return list(self._missing.values())

    @property
    def awaited(self) -> int:
        """Number of images that have not come, equal ones once."""
        return len(self._missing)

    @property
    def is_whole(self) -> bool:
        """Whether all have come."""
        return not self._missing

    @property
    def size(self) -> int:
        """Bytes that it takes, estimated."""
        return _IMAGE_BYTES * len(self.digests) + self.kept_bytes

    def has(self, digest: str) -> bool:
        """Whether an image has come."""
        return digest not in self._missing

    def take(self, images: Iterable[UploadedImage]) -> None:
        """Add images that have come."""
        for image in images:
            if self._missing.pop(image.sha256, None) is not None:
                self.images[image.sha256] = image
                self.kept_bytes += image.size

    def forget_files(self, images: Iterable[UploadedImage]) -> None:
        """Drop the files of some of its images."""
        for image in images:
            if self.images.get(image.sha256) is image:
                self.kept_bytes -= image.size
            image.forget()

    def forget_images(self) -> None:
        """Drop all images, which are encoded."""
        self.forget_files(self.images.values())
        self.images = {}

    def lose(self) -> None:
        """The model has forgotten images: those whose files are gone are missing again, and from
        now on files are kept."""
        self.keeps_files = True
        self.images = {digest: each for digest, each in self.images.items() if each.is_held}
        for image in self.images.values():
            image.keep()
        places = self._places()
        self._missing = {each: places[each] for each in places if each not in self.images}

    def _places(self) -> dict[str, int]:
        """Where each image is first."""
        places: dict[str, int] = {}
        for place, digest in enumerate(self.digests):
            places.setdefault(digest, place)
        return places


def content_id(kind: str, account: str, *content: str) -> str:
    """An id that an account's equal things share, and nobody else's."""
    digest = hashlib.sha256()
    for part in (kind, account, *content):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()[:32]

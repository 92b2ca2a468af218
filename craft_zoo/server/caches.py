"""Per-account caches of image sets and classifiers. Equal contents are computed only once."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from craft_zoo.blackbox import BlackBox, ImageSet
from craft_zoo.protocol import ErrorCode, digest_of_texts
from craft_zoo.server.errors import Refusal
from craft_zoo.server.uploads import UploadedImage

_IMAGE_BYTES = 2**12  # estimate for an encoded image: features, hash and bookkeeping
_OPENED_BYTES = 2**13  # of a classifier without tensors and names; 2.5 to 5 kB were measured


Thing = TypeVar("Thing", "AccountImages", "Opened")


class AccountCache(Generic[Thing]):
    """LRU cache for each account, by id. Accounts do not see each other's objects.

    When an account exceeds a limit, its least recently used objects are dropped; a single object
    may exceed the size limit.

    Args:
        most: maximum number of objects of an account.
        code: error code of the refusal for an unknown id.
        missing: message of that refusal.
        room: maximum bytes of an account's objects.
    """

    def __init__(self, most: int, code: ErrorCode, missing: str, *, room: int) -> None:
        self._most, self._code, self._missing, self._room = most, code, missing, room
        self._by_account: dict[str, OrderedDict[str, Thing]] = {}

    def put(self, account: str, id: str, thing: Thing) -> None:
        """Store an object; the account's least recently used ones may be dropped."""
        own = self._by_account.setdefault(account, OrderedDict())
        own[id] = thing
        own.move_to_end(id)
        self.make_room(account)

    def make_room(self, account: str) -> None:
        """Drop the account's least recently used objects until the rest is within the limits."""
        own = self._by_account.get(account, OrderedDict())
        while len(own) > 1 and (
            len(own) > self._most or sum(each.size for each in own.values()) > self._room
        ):
            own.popitem(last=False)

    def find(self, account: str, id: str) -> Thing | None:
        """The object with this id, or None. It becomes the most recently used one."""
        own = self._by_account.get(account, OrderedDict())
        if id in own:
            own.move_to_end(id)
        return own.get(id)

    def get(self, account: str, id: str) -> Thing:
        """As :meth:`find`, for an object that must exist.

        Raises:
            Refusal: the account has no object with this id.
        """
        thing = self.find(account, id)
        if thing is None:
            raise Refusal(self._code, self._missing)
        return thing

    def remove(self, account: str, id: str) -> None:
        """Remove an object, see :meth:`get`."""
        self.get(account, id)
        del self._by_account[account][id]

    def all_of(self, account: str) -> list[Thing]:
        """All objects of an account."""
        return list(self._by_account.get(account, {}).values())


@dataclass(eq=False)
class Opened:
    """The model opened on class names, shared by all accounts that opened it on them.

    Attributes:
        box: the model's classifier.
    """

    box: BlackBox

    @cached_property
    def _names_bytes(self) -> int:
        return sum(sys.getsizeof(name) for name in self.box.classnames)

    @property
    def size(self) -> int:
        """Bytes that the classifier currently takes."""
        return _OPENED_BYTES + self._names_bytes + self.box.held_bytes


class AccountImages:
    """An account's image set, whose images may be uploaded in several requests.

    Args:
        digests: SHA-256 of each image file, hexadecimal, in order.
        is_cached: whether the model may store the features in its cache on disk.

    Attributes:
        images: uploaded images by digest; empty once the set is encoded and files are not kept.
        encoded: the model's handle on the encoded set, once it is complete; None before that.
        keeps_files: whether files are kept until the set is complete, because their features
            are not cached or were evicted from the cache.
        kept_bytes: bytes of the files that are kept.
    """

    def __init__(self, digests: tuple[str, ...], *, is_cached: bool = True) -> None:
        self.digests, self.is_cached = digests, is_cached
        self.images: dict[str, UploadedImage] = {}
        self.encoded: ImageSet | None = None
        self.keeps_files = not is_cached
        self.kept_bytes = 0
        self._missing = self._places()

    @property
    def missing(self) -> list[int]:
        """Indices of the images that are missing; the first index of equal images only."""
        return list(self._missing.values())

    @property
    def awaited(self) -> int:
        """Number of distinct images that are missing."""
        return len(self._missing)

    @property
    def is_whole(self) -> bool:
        """Whether all images were uploaded."""
        return not self._missing

    @property
    def size(self) -> int:
        """Estimate of the bytes that the set takes."""
        return _IMAGE_BYTES * len(self.digests) + self.kept_bytes

    def has(self, digest: str) -> bool:
        """Whether the image with this digest was uploaded."""
        return digest not in self._missing

    def take(self, images: Iterable[UploadedImage]) -> None:
        """Add uploaded images."""
        for image in images:
            if self._missing.pop(image.sha256, None) is not None:
                self.images[image.sha256] = image
                self.kept_bytes += image.size

    def forget_files(self, images: Iterable[UploadedImage]) -> None:
        """Drop the files of some of the images."""
        for image in images:
            if self.images.get(image.sha256) is image:
                self.kept_bytes -= image.size
            image.forget()

    def forget_images(self) -> None:
        """Drop all images; for use after the set was encoded."""
        self.forget_files(self.images.values())
        self.images = {}

    def mark_evicted(self) -> None:
        """Handle features that the model has evicted: images without a file are missing again, and
        files of this set are kept from now on."""
        self.keeps_files = True
        self.images = {digest: each for digest, each in self.images.items() if each.is_held}
        places = self._places()
        self._missing = {each: places[each] for each in places if each not in self.images}

    def _places(self) -> dict[str, int]:
        """The first index of each digest."""
        places: dict[str, int] = {}
        for place, digest in enumerate(self.digests):
            places.setdefault(digest, place)
        return places


def content_id(kind: str, account: str, *content: str) -> str:
    """Id of an account's content: equal within the account, different between accounts."""
    return digest_of_texts(kind, account, *content)[:32]

"""Images that a server has: handed over once, and again when it has forgotten them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from craft_zoo.blackbox.base import VLM, ImageSet, Progress
from craft_zoo.client.files import file_of
from craft_zoo.client.server import Refused, Server, as_object
from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import ErrorCode, encode_files, paths
from craft_zoo.threads import in_threads

TURNS = 20  # that a server may forget in, for one question; each restart of it is one

_TOGETHER = 64  # images in a request
_UPLOAD_BYTES = 2**23  # in a request, where no image alone is larger
_HEAD_BYTES = 2**7  # of these, for each file's number and place
_FILES = "application/octet-stream"


class RemoteImages(ImageSet):
    """Images, the bytes of whose files the server knows them by.

    Args:
        sources: the images.
        owner: the model that they are handed to.
        server: where it is.
        together: images that one set over there may have.
        progress: called as the server takes them in.
        most: bytes that a request may have.

    Raises:
        CraftZooError: an image is missing or broken, or the server does not take it.
    """

    def __init__(
        self,
        sources: Sequence[ImageSource],
        owner: VLM,
        server: Server,
        together: int,
        progress: Progress | None = None,
        *,
        most: int = _UPLOAD_BYTES,
    ) -> None:
        self.sources, self.owner = sources, owner
        self._server, self._most = server, min(most, _UPLOAD_BYTES)
        self._digests = list(in_threads(_digest, sources))
        self._divided: dict[int, list[Part]] = {}
        self.parts(together, progress)

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def ids(self) -> set[str]:
        """What the server calls the sets that they are over there."""
        return {part.id for parts in list(self._divided.values()) for part in parts}

    def parts(self, together: int, progress: Progress | None = None) -> list[Part]:
        """They in sets of so many, handed over where they were not divided so before."""
        if together not in self._divided:
            parts = []
            for start in range(0, len(self), together):
                digests = self._digests[start : start + together]
                parts.append(Part(self._server, self.sources, start, digests, self._most))
                parts[-1].hand_over(progress)
            self._divided[together] = parts
        return self._divided[together]


class Part:
    """Consecutive images that are one set over there.

    Args:
        server: where it is.
        sources: all images, these among them.
        start: place of the first of these.
        digests: SHA-256 of each one's file.
        most: bytes that a request may have.

    Attributes:
        id: what the server calls the set.
        start: as given.
        stop: place behind the last of them.
    """

    def __init__(
        self,
        server: Server,
        sources: Sequence[ImageSource],
        start: int,
        digests: Sequence[str],
        most: int,
    ) -> None:
        self._server, self._sources, self._digests, self._most = server, sources, digests, most
        self.id, self.start, self.stop = "", start, start + len(digests)

    def __len__(self) -> int:
        return len(self._digests)

    def hand_over(self, progress: Progress | None = None) -> None:
        """Make sure that the server has them; what it has is not sent.

        Raises:
            CraftZooError: an image is broken, or the server does not take it.
        """
        for _ in range(TURNS):
            about = {"images": self._digests}
            answer = self._server.ask_json("POST", paths.IMAGE_SETS, about, most=100 * len(self))
            self.id = str(answer.get("id"))
            try:
                self._upload(self._missing(answer), progress)
                return
            except Refused as refusal:
                if refusal.code != ErrorCode.UNKNOWN_IMAGE_SET:
                    raise
        raise self._server.forgetful()

    def _upload(self, missing: list[int], progress: Progress | None) -> None:
        while missing:
            if progress:
                progress(self.stop - len(missing), len(self._sources))
            sent = dict(self._some(missing))
            try:
                answer = self._put(encode_files(sent))
            except Refused as refusal:
                if refusal.code == ErrorCode.BAD_IMAGE:
                    for place in sent:
                        open_image(self._source(place))  # says which image it is
                    if self.start:  # the server counts from there
                        sentence = f"after the first {self.start:,} images, {refusal}"
                        raise Refused(refusal.code, sentence) from None
                raise
            rest = self._missing(answer)
            if set(sent) & set(rest):
                raise CraftZooError(
                    f"{self._server.url} does not keep the images that it is sent: ask its owner"
                )
            missing = rest
        if progress:
            progress(self.stop, len(self._sources))

    def _source(self, place: int) -> ImageSource:
        return self._sources[self.start + place]

    def _put(self, files: bytes) -> dict[str, Any]:
        return self._server.ask(
            "PUT",
            paths.IMAGES.format(id=self.id),
            as_object,
            body=files,
            kind=_FILES,
            most=20 * len(self),
        )

    def _some(self, missing: list[int]) -> Iterator[tuple[int, bytes]]:
        """As many files as one request may hold, equal ones once."""
        size, taken = 0, set[str]()
        for place in missing:
            if self._digests[place] in taken:
                continue
            content = file_of(self._source(place))
            size += len(content) + _HEAD_BYTES
            if taken and (size > self._most or len(taken) == _TOGETHER):
                return
            taken.add(self._digests[place])
            yield place, content

    def _missing(self, answer: dict[str, Any]) -> list[int]:
        missing = answer.get("missing")
        if not isinstance(missing, list) or any(
            type(place) is not int or not 0 <= place < len(self) for place in missing
        ):
            raise CraftZooError(
                f"{self._server.url} asks for images that there are not: ask its owner"
            )
        return missing


def _digest(source: ImageSource) -> str:
    return hashlib.sha256(file_of(source)).hexdigest()

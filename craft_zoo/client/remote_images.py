"""Image sets uploaded to a server, and uploaded again when the server has dropped them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from craft_zoo.blackbox.base import ImageSet, Progress
from craft_zoo.client.files import file_of
from craft_zoo.client.remote_server import BYTES, Refused, as_object
from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import ErrorCode, encode_files, paths
from craft_zoo.threads import in_threads

if TYPE_CHECKING:
    from craft_zoo.client.remote_vlm import RemoteVLM

MAX_REUPLOADS = 20  # times that a server may drop data during one query, as by a restart

_TOGETHER = 64  # maximum number of images in an upload request
_UPLOAD_BYTES = 2**23  # maximum size of an upload request, unless a single image is larger
_HEAD_BYTES = 2**7  # of an upload request, for each file's number and offsets


class RemoteImages(ImageSet):
    """Images that the server identifies by the SHA-256 of their files.

    Args:
        sources: the N images.
        owner: the model that receives them.
        progress: called as the server receives images.

    Raises:
        CraftZooError: an image is missing or broken, or the server refuses it.
    """

    def __init__(
        self, sources: Sequence[ImageSource], owner: RemoteVLM, progress: Progress | None = None
    ) -> None:
        super().__init__(sources, owner)
        digests = list(in_threads(_digest, sources))
        self._whole = Part(owner, sources, 0, digests)  # itself not sent
        self._divided: dict[int, list[Part]] = {}
        self.parts(owner.images_together(len(self)), progress)

    @property
    def ids(self) -> set[str]:
        """Ids of the corresponding image sets on the server."""
        return {part.id for parts in list(self._divided.values()) for part in parts}

    def parts(self, together: int, progress: Progress | None = None) -> list[Part]:
        """Divide the images into sets of up to ``together``, uploading those of a new division."""
        if together not in self._divided:
            self._divided[together] = self._whole.parts(together, progress)
        return self._divided[together]


class Part:
    """Consecutive images that form one set on the server.

    Args:
        owner: the model that receives them.
        sources: all N images.
        start: index of the part's first image.
        digests: SHA-256 of each file of the part, hexadecimal.

    Attributes:
        id: the server's id of the set.
        start: as given.
        stop: index after the part's last image.
    """

    def __init__(
        self, owner: RemoteVLM, sources: Sequence[ImageSource], start: int, digests: Sequence[str]
    ) -> None:
        self._owner, self._server = owner, owner._server
        self._sources, self._digests = sources, digests
        self.id, self.start, self.stop = "", start, start + len(digests)

    def __len__(self) -> int:
        return len(self._digests)

    def parts(self, together: int, progress: Progress | None = None) -> list[Part]:
        """Divide the part into sets of up to ``together`` images, and upload them."""
        parts = []
        for at in range(0, len(self), together):
            digests = self._digests[at : at + together]
            parts.append(Part(self._owner, self._sources, self.start + at, digests))
            parts[-1].hand_over(progress)
        return parts

    def hand_over(self, progress: Progress | None = None) -> None:
        """Upload the images that the server does not have.

        Raises:
            CraftZooError: an image is broken, or the server refuses it.
        """
        for _ in range(MAX_REUPLOADS):
            about = {"images": self._digests}
            answer = self._server.ask_json("POST", paths.IMAGE_SETS, about, most=100 * len(self))
            self.id = str(answer.get("id"))
            try:
                self._upload(self._missing(answer), progress)
                return
            except Refused as refusal:
                if refusal.code != ErrorCode.UNKNOWN_IMAGE_SET:
                    raise
        raise self._server.eviction_error()

    def _upload(self, missing: list[int], progress: Progress | None) -> None:
        while missing:
            if progress:
                progress(self.stop - len(missing), len(self._sources))
            sent = dict(self._some(missing))
            try:
                answer = self._server.ask(
                    "PUT",
                    paths.IMAGES.format(id=self.id),
                    as_object,
                    body=encode_files(sent),
                    kind=BYTES,
                    most=20 * len(self),
                )
            except Refused as refusal:
                if refusal.code == ErrorCode.BAD_IMAGE:
                    for place in sent:  # a broken image raises an error that names it
                        open_image(self._sources[self.start + place])
                    if self.start:  # the server's message counts from the start of this part
                        sentence = f"after the first {self.start:,} images, {refusal}"
                        raise Refused(refusal.code, sentence) from None
                raise
            rest = self._missing(answer)
            if set(sent) & set(rest):
                raise CraftZooError(
                    f"{self._server.url} did not store the images that were uploaded: ask its owner"
                )
            missing = rest
        if progress:
            progress(self.stop, len(self._sources))

    def _some(self, missing: list[int]) -> Iterator[tuple[int, bytes]]:
        """Files of one upload request, without duplicates and up to the request's limits."""
        size, taken = 0, set[str]()
        most = min(self._owner.served.body_bytes, _UPLOAD_BYTES)
        for place in missing:
            if self._digests[place] in taken:
                continue
            content = file_of(self._sources[self.start + place])
            size += len(content) + _HEAD_BYTES
            if taken and (size > most or len(taken) == _TOGETHER):
                return
            taken.add(self._digests[place])
            yield place, content

    def _missing(self, answer: dict[str, Any]) -> list[int]:
        missing = answer.get("missing")
        if not isinstance(missing, list) or any(
            type(place) is not int or not 0 <= place < len(self) for place in missing
        ):
            raise CraftZooError(
                f"{self._server.url} asks for images that do not exist: ask its owner"
            )
        return missing


def _digest(source: ImageSource) -> str:
    return hashlib.sha256(file_of(source)).hexdigest()

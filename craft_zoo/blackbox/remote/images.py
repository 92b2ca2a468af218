"""Images that a server has: handed over once, and again when it has forgotten them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from craft_zoo.blackbox.base import VLM, ImageSet, Progress
from craft_zoo.blackbox.remote.files import file_of
from craft_zoo.blackbox.remote.server import Refused, Server, as_object
from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.errors import CraftZooError
from craft_zoo.threads import in_threads
from craft_zoo.wire import ErrorCode, encode_files, paths

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
        progress: called as the server takes them in.
        most: bytes that a request may have.

    Attributes:
        id: the server's name for them.

    Raises:
        CraftZooError: an image is missing or broken, or the server does not take it.
    """

    def __init__(
        self,
        sources: Sequence[ImageSource],
        owner: VLM,
        server: Server,
        progress: Progress | None = None,
        *,
        most: int = _UPLOAD_BYTES,
    ) -> None:
        self.sources, self.owner = sources, owner
        self._server, self._most = server, min(most, _UPLOAD_BYTES)
        self._digests = list(in_threads(_digest, sources))
        self.id = ""
        self.hand_over(progress)

    def __len__(self) -> int:
        return len(self.sources)

    def hand_over(self, progress: Progress | None = None) -> None:
        """Make sure that the server has them; what it has is not sent."""
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
        raise forgetful(self._server.url)

    def _upload(self, missing: list[int], progress: Progress | None) -> None:
        while missing:
            if progress:
                progress(len(self) - len(missing), len(self))
            sent = dict(self._some(missing))
            try:
                answer = self._put(encode_files(sent))
            except Refused as refusal:
                if refusal.code == ErrorCode.BAD_IMAGE:
                    for place in sent:
                        open_image(self.sources[place])  # says which image it is
                raise
            rest = self._missing(answer)
            if set(sent) & set(rest):
                raise CraftZooError(
                    f"{self._server.url} does not keep the images that it is sent: ask its owner"
                )
            missing = rest
        if progress:
            progress(len(self), len(self))

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
            content = file_of(self.sources[place])
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


def forgetful(url: str) -> CraftZooError:
    """What to say of a server that keeps nothing long enough to be asked about it."""
    return CraftZooError(
        f"{url} forgets images or class names before it is asked about them: ask with fewer "
        f"images, or ask its owner for more memory"
    )


def _digest(source: ImageSource) -> str:
    return hashlib.sha256(file_of(source)).hexdigest()

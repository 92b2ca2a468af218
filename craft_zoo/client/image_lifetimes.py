"""Which image sets a server need not keep any longer."""

from __future__ import annotations

import threading
from weakref import WeakSet

from craft_zoo.client.images import RemoteImages


class ImageLifetimes:
    """Remembers what was handed over, without holding it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: WeakSet[RemoteImages] = WeakSet()
        self._passing: set[str] = set()  # ids of sets that need not outlive their images here

    def add(self, images: RemoteImages, keep: bool) -> None:
        """Remember images; see :meth:`VLM.images` for ``keep``."""
        with self._lock:
            self._held.add(images)
            if keep:
                self._passing -= images.ids
            else:
                self._passing |= images.ids

    def take_gone(self) -> list[str]:
        """Ids of the sets that were not to be kept and that nobody holds any more, each once."""
        with self._lock:
            # Equal images have one id, whoever hands them over.
            gone = self._passing - {id for images in self._held for id in images.ids}
            self._passing -= gone
        return sorted(gone)

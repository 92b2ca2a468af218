"""Tracks which uploaded image sets the server may delete."""

from __future__ import annotations

import threading
from weakref import WeakSet

from craft_zoo.client.images import RemoteImages


class ImageLifetimes:
    """Tracks uploaded image sets by weak references."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alive: WeakSet[RemoteImages] = WeakSet()
        self._temporary: set[str] = set()  # ids of sets to delete once no object here uses them

    def add(self, images: RemoteImages, keep: bool) -> None:
        """Track an image set; for ``keep``, see :meth:`VLM.images`."""
        with self._lock:
            self._alive.add(images)
            if keep:
                self._temporary -= images.ids
            else:
                self._temporary |= images.ids

    def take_gone(self) -> list[str]:
        """Ids of temporary sets that are no longer in use; each id is returned once."""
        with self._lock:
            # Two objects with equal images share their ids.
            gone = self._temporary - {id for images in self._alive for id in images.ids}
            self._temporary -= gone
        return sorted(gone)

"""What image files consist of, before a decoder sees them.

A decoder keeps whatever a file holds beside its pixels and does whatever the file tells it to, so a
few kilobytes can make it work for hours or fill the memory. Here the parts of a file are counted,
and those that make a decoder work are bounded.

- :func:`fault_of`: why a file is not decoded
"""

from __future__ import annotations

from craft_zoo.serve.anatomy.jpeg import fault_of_jpeg
from craft_zoo.serve.anatomy.png import fault_of_png
from craft_zoo.serve.anatomy.webp import fault_of_webp

_LOOKS = (
    (b"\xff\xd8", fault_of_jpeg),
    (b"\x89PNG", fault_of_png),
    (b"RIFF", fault_of_webp),
)


def fault_of(content: bytes | memoryview) -> str | None:
    """Why an image file is not decoded, as the end of a sentence; None: it may be.

    Args:
        content: of the file, whatever it is.
    """
    head = bytes(content[:4])
    look = next((look for start, look in _LOOKS if head.startswith(start)), None)
    return look(content) if look else None


__all__ = ["fault_of"]

"""What the two sides of a served model share: names, and how bodies are written.

Bodies are JSON, ``.npy`` or safetensors; nothing is ever unpickled.

- :data:`API`, :mod:`craft_zoo.protocol.paths`: where things are
- :data:`DIGEST_HEADER`, :data:`BILLED_HEADER`, :data:`IDEMPOTENCY_HEADER`: what headers are called
- :class:`ErrorCode`: why a request is refused
- :func:`encode_array`, :func:`decode_array`: float32 arrays; :func:`array_shape`: of its header
- :func:`encode_files`, :func:`decode_files`: numbered files
- :func:`digest`: by which each side knows that a body came whole
"""

from craft_zoo.protocol.arrays import array_shape, decode_array, encode_array
from craft_zoo.protocol.errors import ErrorCode
from craft_zoo.protocol.files import decode_files, encode_files
from craft_zoo.protocol.headers import (
    BILLED_HEADER,
    DIGEST_HEADER,
    IDEMPOTENCY_HEADER,
    digest,
)
from craft_zoo.protocol.paths import API

__all__ = [
    "API",
    "BILLED_HEADER",
    "DIGEST_HEADER",
    "IDEMPOTENCY_HEADER",
    "ErrorCode",
    "array_shape",
    "decode_array",
    "decode_files",
    "digest",
    "encode_array",
    "encode_files",
]

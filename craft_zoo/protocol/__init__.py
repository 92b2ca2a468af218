"""HTTP protocol between client and server: paths, headers, error codes and body formats.

Bodies are JSON, ``.npy`` or safetensors. Nothing is unpickled.

- :data:`API`, :mod:`craft_zoo.protocol.paths`: URL paths
- :data:`DIGEST_HEADER`, :data:`BILLED_HEADER`, :data:`IDEMPOTENCY_HEADER`: names of headers
- :class:`ErrorCode`: reasons for which a request is refused
- :func:`encode_array`, :func:`decode_array`: float32 arrays as ``.npy``
- :func:`encode_files`, :func:`decode_files`: numbered files as safetensors
- :func:`digest`: SHA-256 of a body, by which the receiver detects damage;
  :func:`digest_of_texts`: of several texts
"""

from craft_zoo.protocol.arrays import decode_array, encode_array
from craft_zoo.protocol.errors import ErrorCode
from craft_zoo.protocol.files import decode_files, encode_files
from craft_zoo.protocol.headers import (
    BILLED_HEADER,
    DIGEST_HEADER,
    IDEMPOTENCY_HEADER,
    digest,
    digest_of_texts,
)
from craft_zoo.protocol.paths import API

__all__ = [
    "API",
    "BILLED_HEADER",
    "DIGEST_HEADER",
    "IDEMPOTENCY_HEADER",
    "ErrorCode",
    "decode_array",
    "decode_files",
    "digest",
    "digest_of_texts",
    "encode_array",
    "encode_files",
]

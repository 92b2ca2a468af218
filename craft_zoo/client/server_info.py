"""What a server says of its model: which it is, and how much it takes at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from craft_zoo.client.server import MISREAD, Server
from craft_zoo.printable import printable
from craft_zoo.protocol import paths

ANSWER_BYTES = 2**26  # that one request may bring
_BODY_BYTES = 2**25  # of one request
_IMAGES = 2**13  # of a set: with ImageNet's classes, an answer of 32 MB
_ACCEPTS = frozenset({"contexts", "texts"})


@dataclass(frozen=True)
class ServerInfo:
    """A model that is served.

    Two are equal where they are the same model that answers in the same form; how much it takes at
    once may differ.

    Attributes:
        name: what its owner calls it.
        image_size: pixels a side of the square that it looks at.
        accepts: what it can be asked with.
        answers: logits or log_probabilities; "" where the server does not say.
        top_k: classes of an image that are told apart; None: all.
        in_flight: prompts of a request.
        images: of a set.
        answer_bytes: of an answer.
        body_bytes: of a request.
    """

    name: str
    image_size: int
    accepts: frozenset[str]
    answers: str
    top_k: int | None
    in_flight: int = field(compare=False)
    images: int = field(compare=False)
    answer_bytes: int = field(compare=False)
    body_bytes: int = field(compare=False)


def fetch_server_info(server: Server) -> ServerInfo:
    """What the server says now.

    Raises:
        CraftZooError: it does not answer, or with what cannot be understood.
    """
    about = server.ask_json("GET", paths.MODEL)
    try:
        limits, in_flight, top_k = about.get("limits") or {}, about["in_flight"], about.get("top_k")
        served = ServerInfo(
            name=printable(str(about["name"])),
            image_size=int(about["image_size"]),
            accepts=frozenset(about["accepts"]) & _ACCEPTS,
            answers=printable(str(about.get("answers") or "")),
            top_k=None if top_k is None else int(top_k),
            in_flight=min(int(in_flight), int(limits.get("contexts", in_flight))),
            images=min(_IMAGES, int(limits.get("images", _IMAGES))),
            answer_bytes=int(limits.get("answer_bytes", ANSWER_BYTES)),
            body_bytes=min(_BODY_BYTES, int(limits.get("body_bytes", _BODY_BYTES))),
        )
    except MISREAD:
        raise server.strange("says of its model what cannot be understood") from None
    least = min(served.in_flight, served.image_size, served.images, served.answer_bytes)
    if least < 1 or not served.accepts:
        raise server.strange("says that its model cannot be asked")
    return served

"""Description of a served model, and the limits of requests to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from craft_zoo.client.server import MISREAD, Server
from craft_zoo.printable import printable
from craft_zoo.protocol import paths

ANSWER_BYTES = 2**26  # maximum size of an answer that the client requests
_BODY_BYTES = 2**25  # maximum size of a request body
_IMAGES = 2**13  # maximum size of a set; with ImageNet's 1000 classes, an answer has 32 MB
_ACCEPTS = frozenset({"contexts", "texts"})


@dataclass(frozen=True)
class ServerInfo:
    """Description of a served model.

    Two descriptions are equal if model and form of the answers are the same. Limits are not
    compared.

    Attributes:
        name: name given by the owner.
        image_size: height and width of the model's input, in pixels.
        accepts: kinds of prompts, see :attr:`craft_zoo.blackbox.BlackBox.accepts`.
        answers: logits or log_probabilities; "" if the server does not say.
        top_k: number of largest scores of each image that are returned unchanged; None: all.
        in_flight: maximum number of prompts in a request.
        images: maximum number of images in a set.
        answer_bytes: maximum size of an answer.
        body_bytes: maximum size of a request body.
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
    """Request the description of the served model.

    Raises:
        CraftZooError: the server does not answer, or its answer is invalid.
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
        raise server.protocol_error("describes its model in an unexpected form") from None
    least = min(served.in_flight, served.image_size, served.images, served.answer_bytes)
    if least < 1 or not served.accepts:
        raise server.protocol_error("describes a model that cannot be queried")
    return served

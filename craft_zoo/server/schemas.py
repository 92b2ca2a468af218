"""Pydantic models of JSON requests and responses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, WithJsonSchema

from craft_zoo.blackbox import DEFAULT_INIT
from craft_zoo.deployed import AdapterParts
from craft_zoo.protocol import ErrorCode


class FailFirst(FailFast):
    """Stops at the first invalid element: an error takes a kilobyte, an element 2 bytes or more."""

    __hash__ = object.__hash__  # pydantic requires it in a union of types


_HYPOTHESIS = "This is a photo of {}."
_Names = Annotated[list[Annotated[str, Field(min_length=1)]], FailFirst()]


STRICT = ConfigDict(strict=True, extra="forbid")


class Body(BaseModel):
    """A part of a request, without unknown fields."""

    model_config = STRICT


class Announcement(Body):
    """Announces an image set by the SHA-256 of each image file, in order."""

    images: Annotated[list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]], FailFirst()] = Field(
        min_length=1
    )


class Opening(Body):
    """Class names on which to open the model, and the initial prompt."""

    classnames: _Names = Field(min_length=1)
    init: str = Field(DEFAULT_INIT, min_length=1)


class Templates(Body):
    """Templates with {} in place of the class name; an inner list has one template per class."""

    templates: Annotated[list[str | Annotated[list[str], FailFirst()]], FailFirst()] = Field(
        min_length=1
    )


class TaskParameters(BaseModel):
    """Parameters of Hugging Face's task zero-shot-image-classification."""

    model_config = ConfigDict(strict=True)

    candidate_labels: _Names = Field(min_length=1)
    hypothesis_template: Annotated[
        str,
        BeforeValidator(lambda template: _HYPOTHESIS if template is None else template),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ] = _HYPOTHESIS


class TaskRequest(BaseModel):
    """Request of Hugging Face's task zero-shot-image-classification: a base64 image and labels."""

    model_config = ConfigDict(strict=True)

    inputs: str
    parameters: TaskParameters


class ClassifyRequest(Body):
    """Images to classify, as base64 of the files or as data URLs: one image, or several images."""

    image: str | None = None
    images: Annotated[list[str], FailFirst()] | None = Field(None, min_length=1)


class Classified(BaseModel):
    """Class of an image, and the probabilities of classes in descending order.

    The label is null if all classes are equally likely, as where the model refused to answer.
    """

    label: str | None
    probability: float
    probabilities: dict[str, float]


class ClassifyAnswer(BaseModel):
    """Class of one image, and the probabilities of classes in descending order.

    The label is null if all classes are equally likely, as where the model refused to answer.
    """

    model: str
    label: str | None
    probability: float
    probabilities: dict[str, float]


class ClassifySeveralAnswer(BaseModel):
    """Classes of several images, in their order."""

    model: str
    images: list[Classified]


class AdapterAnswer(BaseModel):
    """The adapter: its model, its classes, what it consists of, and when its file was written."""

    model: str
    classes: list[str]
    method: AdapterParts
    created: datetime | None


class ModelAnswer(BaseModel):
    """The served model and the server's limits."""

    name: str
    image_size: int
    in_flight: int
    accepts: list[str]
    answers: Literal["logits", "log_probabilities"]
    top_k: int | None
    fingerprint: str
    limits: dict[str, float]


class ImageSetAnswer(BaseModel):
    """An image set and the indices of its missing images."""

    id: str
    missing: list[int]


class MissingAnswer(BaseModel):
    """Indices of the missing images of a set."""

    missing: list[int]


class ClassifierAnswer(BaseModel):
    """The model opened on class names; the shape is that of its initial context."""

    id: str
    template: str
    classnames: list[str]
    shape: list[int]


class UsageAnswer(BaseModel):
    """Usage and quota of an account."""

    predictions: int
    scores: int
    requests: int
    quota: int | None
    remaining: int | None


class LabelScore(BaseModel):
    """Score of a label in Hugging Face's task zero-shot-image-classification."""

    label: str
    score: float


class Health(BaseModel):
    """Status of the server."""

    status: str


class Error(BaseModel):
    """Reason for which a request was refused."""

    code: ErrorCode
    message: str


class ErrorAnswer(BaseModel):
    """Response to a refused request."""

    error: Error


class TaskErrorAnswer(BaseModel):
    """Response to a refused request, in the form that Hugging Face's clients expect."""

    error: str


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI content of a JSON request body; the app adds the model to the schema."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


BINARY_BODY: dict[str, Any] = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
}

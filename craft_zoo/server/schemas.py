"""JSON that comes and goes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, WithJsonSchema

from craft_zoo.blackbox import DEFAULT_INIT
from craft_zoo.protocol import ErrorCode


class _First(FailFast):
    """Tells of the first wrong element alone: an error takes a kilobyte, and its element two."""

    __hash__ = object.__hash__  # a union of types asks for one


_HYPOTHESIS = "This is a photo of {}."
_Names = Annotated[list[Annotated[str, Field(min_length=1)]], _First()]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Announcement(_Body):
    """The images of a set: SHA-256 of each one's file, in order."""

    images: Annotated[list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]], _First()] = Field(
        min_length=1
    )


class Opening(_Body):
    """The class names to open the model on, and the prompt to start from."""

    classnames: _Names = Field(min_length=1)
    init: str = Field(DEFAULT_INIT, min_length=1)


class Templates(_Body):
    """Prompts with {} where the class name stands; a list holds one for each class."""

    templates: Annotated[list[str | Annotated[list[str], _First()]], _First()] = Field(min_length=1)


class TaskParameters(BaseModel):
    """Of Hugging Face's task."""

    model_config = ConfigDict(strict=True)

    candidate_labels: _Names = Field(min_length=1)
    hypothesis_template: Annotated[
        str,
        BeforeValidator(lambda template: _HYPOTHESIS if template is None else template),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ] = _HYPOTHESIS


class TaskRequest(BaseModel):
    """Hugging Face's task zero-shot-image-classification: an image in base 64, and labels."""

    model_config = ConfigDict(strict=True)

    inputs: str
    parameters: TaskParameters


class ModelAnswer(BaseModel):
    """What is served."""

    name: str
    image_size: int
    in_flight: int
    accepts: list[str]
    answers: Literal["logits", "log_probabilities"]
    top_k: int | None
    limits: dict[str, float]


class ImageSetAnswer(BaseModel):
    """An image set."""

    id: str
    missing: list[int]


class MissingAnswer(BaseModel):
    """Places of the images that have not come."""

    missing: list[int]


class ClassifierAnswer(BaseModel):
    """The model opened on class names."""

    id: str
    template: str
    classnames: list[str]
    shape: list[int]


class UsageAnswer(BaseModel):
    """What the account has used, and may."""

    predictions: int
    scores: int
    requests: int
    quota: int | None
    remaining: int | None


class LabelScore(BaseModel):
    """Of Hugging Face's task."""

    label: str
    score: float


class Health(BaseModel):
    """Of the server."""

    status: str


class Error(BaseModel):
    """Why a request was refused."""

    code: ErrorCode
    message: str


class ErrorAnswer(BaseModel):
    """A request was refused."""

    error: Error


class TaskErrorAnswer(BaseModel):
    """A request was refused, as Hugging Face's clients read it."""

    error: str


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The content of a request in JSON, for the schema."""
    return {"application/json": {"schema": _inlined(model.model_json_schema())}}


BINARY_BODY: dict[str, Any] = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without references, which would lead to where it does not stand."""
    definitions = schema.pop("$defs", {})

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return resolve(definitions[value["$ref"].rpartition("/")[2]])
            return {name: resolve(each) for name, each in value.items()}
        return [resolve(each) for each in value] if isinstance(value, list) else value

    resolved: dict[str, Any] = resolve(schema)
    return resolved

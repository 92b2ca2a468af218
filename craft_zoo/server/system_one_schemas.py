"""Pydantic models of requests and answers of the System One protocol."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from craft_zoo.server.schemas import Body

QUESTIONS, OPTIONS = 64, 255  # maximum numbers of questions, and of options of each
_IMAGES = 4  # maximum number that the protocol allows

Content = str | dict[str, Any] | list[Any]


class Asset(Body):
    """An image file in base64."""

    type: Literal["image"] = "image"
    format: str | None = None
    data_base64: str


class NoulQuestion(Body):
    """A question: is a statement about the image true? The criteria describe both cases."""

    type: Literal["noul"]
    instructions: Content | None = None
    criteria: dict[Literal["true", "false"], Content | None] | None = None


class ChoiceQuestion(Body):
    """A question: which option fits the image? The criteria describe the options."""

    type: Literal["choice"]
    instructions: Content | None = None
    criteria: dict[Annotated[str, Field(min_length=1)], Content | None] = Field(
        min_length=1, max_length=OPTIONS
    )


class ScoreQuestion(Body):
    """A question: which of the ordered levels fits the image?"""

    type: Literal["score"]
    instructions: Content | None = None
    criteria: list[Content] = Field(min_length=1, max_length=OPTIONS)


AnyQuestion = NoulQuestion | ChoiceQuestion | ScoreQuestion


class SystemOneRequest(Body):
    """Named questions about a state, which is one image: an asset, or an element of images."""

    model: str
    state: Content
    questions: dict[str, Annotated[AnyQuestion, Field(discriminator="type")]] = Field(
        min_length=1, max_length=QUESTIONS
    )
    assets: dict[str, Asset] = Field(default_factory=dict, max_length=_IMAGES)
    images: list[str | Asset] = Field(default_factory=list, max_length=_IMAGES)


class NoulAnswer(BaseModel):
    """Probability that a statement is true."""

    type: Literal["noul"]
    noul: float


class SystemOneChoiceAnswer(BaseModel):
    """The likeliest option, and the probabilities of all."""

    type: Literal["choice"]
    choice: str
    confidence: float
    probabilities: dict[str, float]


class SystemOneScoreAnswer(BaseModel):
    """The expected level, counted from 0, and the probabilities of all levels."""

    type: Literal["score"]
    score: float
    legend: dict[str, Any]
    confidence: float
    probabilities: dict[str, float]


class SystemOneUsage(BaseModel):
    """Tokens of a request."""

    input_tokens: int
    output_tokens: int = 0


class SystemOneAnswer(BaseModel):
    """Answers by the names of the questions."""

    model: str
    answers: dict[str, NoulAnswer | SystemOneChoiceAnswer | SystemOneScoreAnswer]
    usage: SystemOneUsage


class SystemOneErrorAnswer(BaseModel):
    """Response to a refused request, in the form that System One's clients expect."""

    detail: str

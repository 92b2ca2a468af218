"""Pydantic models of OpenAI's requests and answers: decisions and embeddings."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StrictBool,
    StrictStr,
    model_validator,
)
from pydantic.dataclasses import dataclass

from craft_zoo.server.schemas import STRICT, Body, FailFirst

QUESTIONS, OPTIONS = 400, 255  # maximum numbers of questions, and of options of each
INPUTS = 2048  # maximum number of texts and images that are embedded


class InputText(Body):
    """A text."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Any = None


class InputImage(Body):
    """An image as a data URL."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["low", "high", "auto", "original"] | None = None
    prompt_cache_breakpoint: Any = None


class InputJson(Body):
    """JSON values, as context."""

    type: Literal["input_json"]
    data: dict[str, Any] | list[dict[str, Any]]


class OutputText(Body):
    """An earlier answer of an assistant."""

    type: Literal["output_text"]
    text: str


class OutputRefusal(Body):
    """An earlier refusal of an assistant."""

    type: Literal["refusal"]
    refusal: str


_Input = InputText | InputImage | InputJson
_Part = Annotated[_Input | OutputText | OutputRefusal, Field(discriminator="type")]
_Content = str | Annotated[list[_Part], FailFirst()]
_Instruction = Annotated[_Input, Field(discriminator="type")]
_Instructions = str | Annotated[list[_Instruction], FailFirst()]


class Item(Body):
    """A message, or a call of a tool or its output, which are context."""

    type: Literal[
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
    ] = "message"
    role: Literal["user", "developer", "system", "assistant"] | None = None
    content: _Content | None = None
    output: _Content | None = None
    phase: str | None = None
    arguments: str | None = None
    input: str | None = None
    call_id: str | None = None
    name: str | None = None
    id: str | None = None
    namespace: str | None = None
    status: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Item:
        if self.type == "message" and (self.role is None or self.content is None):
            raise ValueError("a message needs a role and content")
        return self

    @property
    def images(self) -> Iterator[InputImage]:
        """Its images."""
        for content in (self.content, self.output):
            if isinstance(content, list):
                yield from (part for part in content if isinstance(part, InputImage))


def _check_distinct(things: list[Any]) -> list[Any]:
    seen: set[tuple[type, Hashable]] = set()
    for thing in things:
        value = thing.value if isinstance(thing, Choice) else thing.label
        if (type(value), value) in seen:
            raise ValueError(f"{value!r} occurs twice")
        seen.add((type(value), value))
    return things


# A request may have 100,000 options: dataclasses with slots take a fifth of a model's memory.
@dataclass(config=STRICT, slots=True)
class Choice:
    """An option. A text and a boolean are different values."""

    value: StrictBool | Annotated[StrictStr, Field(min_length=1)]
    description: str = ""


@dataclass(config=STRICT, slots=True)
class Level:
    """A level of a score."""

    label: Annotated[str, Field(min_length=1)]
    description: str = ""


class _Question(Body):
    instructions: _Instructions
    name: str | None = None


class PredicateQuestion(_Question):
    """A question: is a statement about the image true?"""

    type: Literal["predicate"]


class ChoiceQuestion(_Question):
    """A question: which of the options fits the image?"""

    type: Literal["choice"]
    choices: Annotated[list[Choice], FailFirst(), AfterValidator(_check_distinct)] = Field(
        min_length=2, max_length=OPTIONS
    )


class ScoreQuestion(_Question):
    """A question: which of the ordered levels fits the image?"""

    type: Literal["score"]
    levels: Annotated[list[Level], FailFirst(), AfterValidator(_check_distinct)] = Field(
        min_length=2, max_length=OPTIONS
    )


AnyQuestion = PredicateQuestion | ChoiceQuestion | ScoreQuestion


class DecisionRequest(Body):
    """Questions about the one image of the input."""

    model: str
    input: str | Annotated[list[Item], FailFirst()]
    questions: Annotated[list[Annotated[AnyQuestion, Field(discriminator="type")]], FailFirst()] = (
        Field(min_length=1, max_length=QUESTIONS)
    )
    prompt_cache_key: str | None = None
    prompt_cache_options: Any = None
    safety_identifier: str | None = None


class PredicateAnswer(BaseModel):
    """Probability that a statement is true."""

    type: Literal["predicate"]
    name: str | None
    probability: float


class ChoiceProbability(BaseModel):
    """Probability of an option."""

    value: bool | str
    probability: float


class ChoiceAnswer(BaseModel):
    """The likeliest option, and the probabilities of all."""

    type: Literal["choice"]
    name: str | None
    choice: bool | str
    confidence: float
    probabilities: list[ChoiceProbability]


class LevelProbability(BaseModel):
    """Probability of a level; its value is its place, counted from 0."""

    label: str
    value: int
    probability: float


class ScoreAnswer(BaseModel):
    """The expected level, counted from 0, and the probabilities of all levels."""

    type: Literal["score"]
    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelProbability]


class InputTokensDetails(BaseModel):
    """Tokens read from a cache and written to it: always 0."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokensDetails(BaseModel):
    """Tokens of reasoning: always 0."""

    reasoning_tokens: int = 0


class DecisionUsage(BaseModel):
    """Tokens of a request."""

    input_tokens: int
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class DecisionAnswer(BaseModel):
    """Answers in the order of the questions."""

    model: str
    answers: list[PredicateAnswer | ChoiceAnswer | ScoreAnswer]
    usage: DecisionUsage


class EmbeddingRequest(Body):
    """Texts and images (data URLs) to embed."""

    model: str
    input: str | Annotated[list[str], FailFirst(), Field(min_length=1, max_length=INPUTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    modality: Literal["text", "image"] | None = None
    user: str | None = None


class Embedding(BaseModel):
    """The features of a text or an image; in base64, of little-endian float32 numbers."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens of a request."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(BaseModel):
    """Embeddings in the order of the inputs."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage


class OpenAIError(BaseModel):
    """Reason for which a request was refused."""

    message: str
    type: str
    code: str
    param: str | None


class OpenAIErrorAnswer(BaseModel):
    """Response to a refused request, in the form that OpenAI's clients expect."""

    error: OpenAIError

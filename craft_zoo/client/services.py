"""Opens a paid service by name: its address, its options and its prices."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, TypeVar, get_type_hints

from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.load import ModelSpec
from craft_zoo.client.http import checked_url
from craft_zoo.client.prices import price_of
from craft_zoo.client.question_service import QuestionService
from craft_zoo.client.question_vlm import QuestionVLM
from craft_zoo.client.token_rules import ModelTokens, image_rule
from craft_zoo.data.classnames import read_classnames
from craft_zoo.errors import CraftZooError
from craft_zoo.files import expanded
from craft_zoo.optimizers.option import Option, parse_options
from craft_zoo.protocol.tokens import TokenRule


@dataclass(frozen=True)
class PaidOptions:
    """Options of every service, set by ``--model-option NAME=VALUE``.

    Attributes:
        concurrency: maximum number of concurrent requests.
        timeout: seconds to wait for an answer.
        image_tokens: tokens of an image, for estimates; None: by the rule of the model, see
            :func:`image_rule`, or one for each 32 x 32 pixels.
        characters_per_token: for estimates.
        max_side: length of the longer side of an image, in pixels, to which larger images are
            reduced before they are sent; None: they are sent as they are.
    """

    concurrency: int = 8
    timeout: float = 60.0
    image_tokens: int | None = None
    characters_per_token: float = 4.0
    max_side: int | None = None

    def tokens(self, model: str) -> TokenRule:
        """The rule by which the tokens of a model are estimated."""
        return ModelTokens(
            characters=self.characters_per_token,
            image=self.image_tokens,
            rule=image_rule(model),
            low=getattr(self, "detail", None) == "low",
        )


@dataclass(frozen=True)
class ServiceOptions(PaidOptions):
    """Options of a service that answers questions.

    Attributes:
        descriptions: file with a description of each class, a line each: name, tab, text.
        permutations: orders of the options in which each question is asked, see
            :class:`QuestionVLM`.
        options: maximum number of options of a question; None: as many as the protocol allows.
    """

    descriptions: str | None = None
    permutations: int = 1
    options: int | None = None


@dataclass(frozen=True)
class OpenAIOptions(ServiceOptions):
    """Options of a service that answers questions and speaks OpenAI's protocol.

    Attributes:
        detail: how closely the model looks at an image; None: the service's default.
    """

    detail: Literal["low", "high", "auto", "original"] | None = None


# Options that change the price, the time or the form of a request, but no answer.
_SAME_ANSWERS = {field.name for field in fields(PaidOptions)} - {"max_side"} | {"batch", "images"}
AnyOptions = TypeVar("AnyOptions", bound=PaidOptions)
Options = TypeVar("Options", bound=ServiceOptions)
# A model may contain @ too, as in name@revision.
_ADDRESS = re.compile(r"(?P<model>.*?)@(?P<url>https?://.*)")


def read_options(spec: ModelSpec, kind: type[AnyOptions]) -> AnyOptions:
    """The options of a model spec.

    Args:
        spec: the model.
        kind: the options that its service has.

    Raises:
        OptimizerError: an option is unknown, or its value has the wrong type.
        CraftZooError: a value is out of range.
    """
    hints = get_type_hints(kind)
    declared = {
        field.name: Option(field.name, hints[field.name], field.default) for field in fields(kind)
    }
    options = kind(**parse_options(dict(spec.options), declared, f"model {spec.model!r}"))
    positive = "permutations", "concurrency", "timeout", "characters_per_token", "batch", "max_side"
    for name in positive:
        value = getattr(options, name, None)
        if value is not None and not value > 0:
            raise CraftZooError(f"option {name} of {spec.model} must be above 0, not {value}")
    return options


def answer_options(options: PaidOptions, descriptions: Mapping[str, str] | None = None) -> str:
    """See :attr:`VLM.answer_options`; of descriptions it has a hash."""
    given = asdict(options)
    if descriptions:
        content = json.dumps(sorted(descriptions.items())).encode()
        given["descriptions"] = hashlib.blake2b(content, digest_size=4).hexdigest()
    return ",".join(
        f"{field.name}={given[field.name]}"
        for field in fields(options)
        if field.name not in _SAME_ANSWERS and given[field.name] != field.default
    )


def address(spec: ModelSpec, scheme: str, *, needs_url: bool = False) -> tuple[str, str | None]:
    """The model and the base URL in a name such as ``openai:MODEL@https://HOST/v1``.

    Raises:
        CraftZooError: the model's name is missing, or a URL that is needed; or it is no URL.
    """
    name = spec.model.removeprefix(scheme)
    found = _ADDRESS.fullmatch(name)
    model, at, url = (found["model"], "@", found["url"]) if found else name.partition("@")
    if not model or (needs_url and not url):
        form = f"{scheme}MODEL@https://HOST/v1"
        raise CraftZooError(f"the name {spec.model!r} is incomplete: write {form}")
    return model, checked_url(url) if at else None


def cost_limit(spec: ModelSpec) -> CostLimit:
    """The limits of a model spec, with the published price unless it has one of its own."""
    return CostLimit(spec.max_predictions, price_of(spec.model, spec.price), spec.max_cost)


def open_service(
    spec: ModelSpec,
    make: Callable[[Options], QuestionService],
    kind: type[Options],
) -> QuestionVLM:
    """Open a service as a model.

    Args:
        spec: the model.
        make: makes the service from its options.
        kind: the options that the service has.
    """
    options = read_options(spec, kind)
    service = make(options)
    if options.options is not None:
        most = service.limits.options
        if not 2 <= options.options <= most:
            raise CraftZooError(
                f"option options of {spec.model} must be at least 2 and at most {most}, not "
                f"{options.options}"
            )
        service.limits = replace(service.limits, options=options.options)
    file = options.descriptions
    descriptions = None if file is None else read_classnames(expanded(file))
    vlm = QuestionVLM(
        service,
        descriptions=descriptions,
        permutations=options.permutations,
        concurrency=options.concurrency,
        cost_limit=cost_limit(spec),
        max_side=options.max_side,
    )
    vlm.answer_options = answer_options(options, descriptions)
    return vlm

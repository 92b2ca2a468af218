"""Which weights a model has, how they are to be used, and what a model with them is called.

open_clip's architectures say one activation, and its tags, which are of weights, may say another:
``ViT-B-32`` computes with GELU, OpenAI's weights for it were trained with QuickGELU. The weights
are right, and a name says what is computed: ``ViT-B-32@openai`` is opened as, and called,
``ViT-B-32-quickgelu@openai``. So whatever is filed by a model's name (runs, journals, adapters)
keeps answers apart that were computed in different ways.

Names: ``ARCHITECTURE@TAG``, ``ARCHITECTURE@FILE``, or ``ARCHITECTURE@TAG@FILE`` for a file that is
used as a tag says; ``-quickgelu`` or ``-gelu`` behind the architecture says the activation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
from open_clip.transform import PreprocessCfg

from craft_zoo import mini
from craft_zoo.errors import CraftZooError, did_you_mean

_SUFFIXES = {"-quickgelu": True, "-gelu": False}
ACTIVATIONS = {True: "QuickGELU", False: "GELU"}


class Use(NamedTuple):
    """How weights are to be used.

    Attributes:
        quick_gelu: the activation is QuickGELU; else GELU.
        mean: of the pixels, a number a channel.
        std: of the pixels, likewise.
        interpolation: when resizing.
        resize_mode: ``shortest``, ``longest`` or ``squash``.
    """

    quick_gelu: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize_mode: str

    def differs_in(self, other: Use) -> list[str]:
        """The names of what is not the same, of those in :meth:`named`."""
        return [name for name, value in self.named().items() if value != other.named()[name]]

    def in_words(self, names: Collection[str]) -> str:
        """What has these names."""
        return ", ".join(
            value if name == "activation" else f"{name} {value}"
            for name, value in self.named().items()
            if name in names
        )

    def named(self) -> dict[str, Any]:
        """The fields as they are called to users."""
        fields = {"activation": ACTIVATIONS[self.quick_gelu]} | self._asdict()
        del fields["quick_gelu"]
        fields["resize mode"] = fields.pop("resize_mode")
        return fields


@dataclass(frozen=True)
class Weights:
    """Weights of an open_clip architecture.

    Attributes:
        name: see :attr:`craft_zoo.blackbox.VLM.name`.
        architecture: as open_clip names it.
        tag: whose configuration says how they are used, or None: the architecture says it.
        file: where they are; None: where open_clip has those of ``tag``.
        use: how they are used.
        told: the user has said the activation, or the tag.
        unsure: what cannot be known of a file, as open_clip's weights differ in it.
    """

    name: str
    architecture: str
    tag: str | None
    file: Path | None
    use: Use
    told: bool = False
    unsure: tuple[str, ...] = ()


def model_name(model: str, pretrained: str | None = None) -> str:
    """The :attr:`VLM.name` that a model will have, without opening it."""
    if pretrained is None:
        known, _, rest = model.partition("@")
        if rest and _architecture(known):
            model, pretrained = known, rest
    if pretrained is None:
        return model.rstrip("/")
    try:
        return find_weights(model, pretrained).name
    except CraftZooError:  # whoever opens the model is told
        is_file = Path(pretrained).is_file()
        return f"{model}@{Path(pretrained).resolve() if is_file else pretrained}"


def with_activation(model: str, quickgelu: bool | None) -> str:
    """A model's name that says its activation.

    Args:
        model: a name, with or without weights.
        quickgelu: True for QuickGELU, False for GELU, None for what the weights were trained with.

    Raises:
        CraftZooError: the name says the other, or the activation is not the user's to say.
    """
    if quickgelu is None:
        return model
    architecture, at, weights = model.partition("@")
    if architecture == mini.NAME or ":" in architecture:
        raise CraftZooError(
            f"the activation of {model} is part of it: leave out quickgelu "
            f"(--quickgelu, --no-quickgelu)"
        )
    found = _architecture(architecture)
    if found is None:  # unknown, of which whoever opens it is told
        return model
    if found[1] is None:
        suffix = next(suffix for suffix, quick in _SUFFIXES.items() if quick == quickgelu)
        return f"{architecture}{suffix}{at}{weights}"
    if found[1] != quickgelu:
        raise CraftZooError(
            f"the name {model} says {ACTIVATIONS[found[1]]} and the option "
            f"{ACTIVATIONS[quickgelu]}: leave out one of them"
        )
    return model


def find_weights(model: str, pretrained: str | None) -> Weights:
    """Find an architecture's weights and how they are used; nothing is downloaded or opened.

    Args:
        model: an open_clip architecture, perhaps with its activation.
        pretrained: a tag, a checkpoint's path, or ``TAG@PATH``.

    Raises:
        CraftZooError: unknown architecture or weights; the architecture and the tag contradict
            each other so that the user has to say the activation.
    """
    found = _architecture(model)
    if found is None:
        raise CraftZooError(
            f"unknown model {model!r}: {did_you_mean(model, [mini.NAME, *open_clip.list_models()])}"
            f"use {mini.NAME}, or one of open_clip's architectures "
            f"(python -c 'import open_clip; print(open_clip.list_models())')"
        )
    architecture, quick = found
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained is None:
        raise CraftZooError(
            f"model {model} needs weights: add pretrained (--pretrained), a checkpoint's path "
            f"or one of {', '.join(tags) or '(open_clip has no weights for it)'}"
        )
    if pretrained in tags:
        return _of_tag(architecture, pretrained, quick)
    tag, at, path = pretrained.partition("@")
    if Path(pretrained).is_file():
        return _of_file(architecture, Path(pretrained).resolve(), quick)
    if at and tag in tags and Path(path).is_file():
        weights = _of_tag(architecture, tag, quick)
        name = f"{_named(architecture, quick)}@{tag}@{Path(path).resolve()}"
        return Weights(name, architecture, tag, Path(path).resolve(), weights.use, told=True)
    raise CraftZooError(
        f"{pretrained!r} is neither a file nor weights that open_clip has for {model}: "
        f"give a checkpoint's path or one of {', '.join(tags) or '(none)'}"
    )


def computed_before(name: str) -> tuple[str, Use, Use] | None:
    """How earlier versions used the weights of a name that no model has any more.

    Returns:
        The architecture, how they were used, and how they are; None where both are the same.
    """
    architecture, _, pretrained = name.partition("@")
    if architecture not in open_clip.list_models() or not pretrained:
        return None
    before = _default(architecture)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained in tags:
        # Images were prepared as the tag says, always.
        trained = _use(architecture, pretrained)
        before = trained._replace(quick_gelu=before.quick_gelu)
        return None if before == trained else (architecture, before, trained)
    if pretrained.partition("@")[0] in tags:
        return None
    found = _architecture(architecture)
    assert found is not None
    now = _of_file(architecture, Path(pretrained), found[1]).use
    return None if before == now else (architecture, before, now)


def _architecture(model: str) -> tuple[str, bool | None] | None:
    """open_clip's architecture, and the activation that the name says; None: it is unknown."""
    known = open_clip.list_models()
    for suffix, quick in _SUFFIXES.items():
        if model.endswith(suffix):
            if model in known:
                return model, quick
            if model.removesuffix(suffix) in known:
                return model.removesuffix(suffix), quick
    return (model, None) if model in known else None


def _named(architecture: str, quick: bool | None) -> str:
    """An architecture's name with an activation that the user has said."""
    suffix = next((suffix for suffix, each in _SUFFIXES.items() if each == quick), "")
    return architecture if architecture.endswith(suffix) else architecture + suffix


def _default(architecture: str) -> Use:
    """How an architecture's weights are used where nothing else is known of them."""
    config: dict[str, Any] = open_clip.get_model_config(architecture)
    return _as_use(bool(config.get("quick_gelu", False)), asdict(PreprocessCfg()))


def _use(architecture: str, tag: str) -> Use:
    """How a tag's weights are used, by its own configuration."""
    config: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    preprocess = asdict(PreprocessCfg()) | {k: v for k, v in config.items() if v is not None}
    return _as_use(bool(config.get("quick_gelu", False)), preprocess)


def _as_use(quick_gelu: bool, preprocess: dict[str, Any]) -> Use:
    mean, std = (tuple(float(value) for value in preprocess[key]) for key in ("mean", "std"))
    return Use(quick_gelu, mean, std, preprocess["interpolation"], preprocess["resize_mode"])


def _of_tag(architecture: str, tag: str, quick: bool | None) -> Weights:
    """The weights of a tag under the activation that the user has said, or the tag says."""
    use, own = _use(architecture, tag), _default(architecture).quick_gelu
    said = f"{architecture}@{tag}"
    if quick is None and own and not use.quick_gelu:
        # To leave quick_gelu out of a tag is easily forgotten, and to say it in an architecture no
        # accident, so that neither is to be believed without asking.
        raise CraftZooError(
            f"open_clip's configurations contradict each other on {said}: the architecture says "
            f"QuickGELU, the tag does not: say quickgelu=True (--quickgelu), as earlier "
            f"versions computed, or quickgelu=False (--no-quickgelu)"
        )
    if quick and not own and not use.quick_gelu:
        raise CraftZooError(
            f"the weights {said} were trained with GELU: leave out quickgelu=True "
            f"(--quickgelu), or -quickgelu in the model's name"
        )
    if quick is None:
        quick = use.quick_gelu
    same = quick == own == use.quick_gelu
    name = f"{architecture if same else _named(architecture, quick)}@{tag}"
    return Weights(name, architecture, tag, None, use._replace(quick_gelu=quick), told=True)


def _of_file(architecture: str, file: Path, quick: bool | None) -> Weights:
    """A file's weights: used as all of open_clip's for the architecture are, where they agree; else
    as the architecture says."""
    default = _default(architecture)
    own = default.quick_gelu
    uses = {
        tag: _use(architecture, tag)
        for tag in open_clip.list_pretrained_tags_by_model(architecture)
    }
    fitting = {tag: use for tag, use in uses.items() if quick is None or use.quick_gelu == quick}
    if quick is not None:
        default = default._replace(quick_gelu=quick)
    use, tag = default, None
    unsure = {what for each in fitting.values() for what in default.differs_in(each)}
    # An architecture with QuickGELU and weights that do not say it: see _of_tag.
    if len(set(fitting.values())) == 1 and not (own and "activation" in unsure):
        agreed, use = next(iter(fitting.items()))
        if use != default:
            tag = agreed
        unsure &= {"activation"}
    name = "@".join(filter(None, (_named(architecture, quick), tag, str(file))))
    return Weights(
        name, architecture, tag, file, use, told=quick is not None, unsure=tuple(sorted(unsure))
    )

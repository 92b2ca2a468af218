"""Finds the weights of a model, the settings to use them with, and the model's name.

Architecture and weights may specify different activations in open_clip: ``ViT-B-32`` uses GELU, but
OpenAI's weights (a tag) were trained with QuickGELU. The setting of the weights is used, and the
model's name states it: ``ViT-B-32@openai`` is opened as, and named, ``ViT-B-32-quickgelu@openai``.
Runs, journals and adapters are filed by the name, so different computations are never mixed.

Names are ``ARCHITECTURE@TAG``, ``ARCHITECTURE@FILE``, or ``ARCHITECTURE@TAG@FILE`` for a file that
is used with the settings of a tag. The suffix ``-quickgelu`` or ``-gelu`` of the architecture
specifies the activation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from craft_zoo import mini
from craft_zoo.errors import CraftZooError, did_you_mean

PRECISIONS = ("fp32", "fp16", "bf16")
_SUFFIXES = {"-quickgelu": True, "-gelu": False}
ACTIVATIONS = {True: "QuickGELU", False: "GELU"}


class ModelSettings(NamedTuple):
    """Activation and image preprocessing with which weights are used.

    Attributes:
        quick_gelu: whether the activation is QuickGELU rather than GELU.
        mean: mean of the pixels, for each channel.
        std: standard deviation of the pixels, for each channel.
        interpolation: interpolation of image resizing.
        resize_mode: ``shortest``, ``longest`` or ``squash``.
    """

    quick_gelu: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize_mode: str

    def differs_in(self, other: ModelSettings) -> list[str]:
        """Names, as in :meth:`named`, of the settings that differ."""
        return [name for name, value in self.named().items() if value != other.named()[name]]

    def in_words(self, names: Collection[str]) -> str:
        """Describe the settings with these names."""
        return ", ".join(
            value if name == "activation" else f"{name} {value}"
            for name, value in self.named().items()
            if name in names
        )

    def named(self) -> dict[str, Any]:
        """The settings by the names that messages use."""
        fields = {name.replace("_", " "): value for name, value in self._asdict().items()}
        return {"activation": ACTIVATIONS[fields.pop("quick gelu")]} | fields


@dataclass(frozen=True)
class Weights:
    """Weights of an open_clip architecture.

    Attributes:
        name: see :attr:`craft_zoo.blackbox.VLM.name`.
        architecture: open_clip's name of the architecture.
        tag: tag whose configuration gives the settings; None: the architecture gives them.
        file: path of the weights; None: open_clip downloads those of ``tag``.
        settings: activation and preprocessing.
        is_specified: whether the user has specified the activation or the tag.
        unsure: settings that a file does not show and in which open_clip's weights differ.
    """

    name: str
    architecture: str
    tag: str | None
    file: Path | None
    settings: ModelSettings
    is_specified: bool
    unsure: tuple[str, ...] = ()


def model_name(model: str, pretrained: str | None = None) -> str:
    """The :attr:`VLM.name` of a model, without opening it."""
    if pretrained is None:
        known, _, rest = model.partition("@")
        if rest and _architecture(known):
            model, pretrained = known, rest
    if pretrained is None:
        return model.rstrip("/")
    try:
        return find_weights(model, pretrained).name
    except CraftZooError:  # raised again, with its message, when the model is opened
        is_file = Path(pretrained).is_file()
        return f"{model}@{Path(pretrained).resolve() if is_file else pretrained}"


def with_activation(model: str, quickgelu: bool | None) -> str:
    """Add the activation to a model's name.

    Args:
        model: a name, with or without weights.
        quickgelu: True for QuickGELU, False for GELU, None for that of the weights' training.

    Raises:
        CraftZooError: the name specifies the other activation, or the activation is fixed.
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
    if found is None:  # opening an unknown model raises an error
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
    """Find an architecture's weights and their settings; nothing is downloaded or opened.

    Args:
        model: an open_clip architecture, optionally with its activation.
        pretrained: a tag, the path of a checkpoint, or ``TAG@PATH``.

    Raises:
        CraftZooError: the architecture or weights are unknown, or the architecture and the tag
            contradict each other, so that the user must specify the activation.
    """
    found = _architecture(model)
    if found is None:
        if Path(model).is_dir():
            raise CraftZooError(f"{model} is a folder: open its model as local-dir:{model}")
        raise CraftZooError(
            f"unknown model {model!r}: {did_you_mean(model, [mini.NAME, *_architectures()])}"
            f"use {mini.NAME}, an architecture of open_clip or a service (see craft-zoo models)"
        )
    architecture, quick = found
    tags = _tags(architecture)
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
        file = Path(path).resolve()
        name = f"{_named(architecture, quick)}@{tag}@{file}"
        return replace(_of_tag(architecture, tag, quick), name=name, file=file)
    raise CraftZooError(
        f"{pretrained!r} is neither a file nor weights that open_clip has for {model}: "
        f"give a checkpoint's path or one of {', '.join(tags) or '(none)'}"
    )


def former_settings(name: str) -> tuple[str, ModelSettings, ModelSettings] | None:
    """Settings that earlier versions used for a model's name, if they have changed since.

    Returns:
        The architecture, the former and the present settings; None if both are the same.
    """
    architecture, _, pretrained = name.partition("@")
    if architecture not in _architectures() or not pretrained:
        return None
    before = _architecture_settings(architecture)
    tags = _tags(architecture)
    if pretrained in tags:
        # Earlier versions took the image preprocessing from the tag, but not the activation.
        trained = _tag_settings(architecture, pretrained)
        before = trained._replace(quick_gelu=before.quick_gelu)
        return None if before == trained else (architecture, before, trained)
    if pretrained.partition("@")[0] in tags:
        return None
    found = _architecture(architecture)
    assert found is not None
    now = _of_file(architecture, Path(pretrained), found[1]).settings
    return None if before == now else (architecture, before, now)


def _architectures() -> list[str]:
    """open_clip's architectures; none where it is not installed, so that other names are read."""
    try:
        import open_clip
    except ModuleNotFoundError:  # the extra torch
        return []
    return open_clip.list_models()


def _tags(architecture: str) -> list[str]:
    """open_clip's tags of the weights of an architecture."""
    import open_clip

    return open_clip.list_pretrained_tags_by_model(architecture)


def _architecture(model: str) -> tuple[str, bool | None] | None:
    """open_clip's architecture and the activation in the name, if any; None: it is unknown."""
    known = _architectures()
    for suffix, quick in _SUFFIXES.items():
        if model.endswith(suffix):
            if model in known:
                return model, quick
            if model.removesuffix(suffix) in known:
                return model.removesuffix(suffix), quick
    return (model, None) if model in known else None


def _named(architecture: str, quick: bool | None) -> str:
    """An architecture's name with the activation that the user has specified."""
    suffix = next((suffix for suffix, each in _SUFFIXES.items() if each == quick), "")
    return architecture if architecture.endswith(suffix) else architecture + suffix


def _architecture_settings(architecture: str) -> ModelSettings:
    """Settings of an architecture whose weights are unknown."""
    import open_clip
    from open_clip.transform import PreprocessCfg

    config: dict[str, Any] = open_clip.get_model_config(architecture)
    return _as_settings(bool(config.get("quick_gelu", False)), asdict(PreprocessCfg()))


def _tag_settings(architecture: str, tag: str) -> ModelSettings:
    """Settings in the configuration of a tag."""
    import open_clip
    from open_clip.transform import PreprocessCfg

    config: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    preprocess = asdict(PreprocessCfg()) | {k: v for k, v in config.items() if v is not None}
    return _as_settings(bool(config.get("quick_gelu", False)), preprocess)


def _as_settings(quick_gelu: bool, preprocess: dict[str, Any]) -> ModelSettings:
    mean, std = (tuple(float(value) for value in preprocess[key]) for key in ("mean", "std"))
    return ModelSettings(
        quick_gelu, mean, std, preprocess["interpolation"], preprocess["resize_mode"]
    )


def _of_tag(architecture: str, tag: str, quick: bool | None) -> Weights:
    """The weights of a tag, with the activation that the user or else the tag specifies."""
    settings = _tag_settings(architecture, tag)
    own = _architecture_settings(architecture).quick_gelu
    said = f"{architecture}@{tag}"
    if quick is None and own and not settings.quick_gelu:
        # A tag may omit quick_gelu by oversight, whereas an architecture sets it on purpose, so
        # neither setting is trusted without asking the user.
        raise CraftZooError(
            f"open_clip's configurations contradict each other on {said}: the architecture says "
            f"QuickGELU, the tag does not: say quickgelu=True (--quickgelu), as earlier "
            f"versions computed, or quickgelu=False (--no-quickgelu)"
        )
    if quick and not own and not settings.quick_gelu:
        raise CraftZooError(
            f"the weights {said} were trained with GELU: leave out quickgelu=True "
            f"(--quickgelu), or -quickgelu in the model's name"
        )
    if quick is None:
        quick = settings.quick_gelu
    same = quick == own == settings.quick_gelu
    name = f"{architecture if same else _named(architecture, quick)}@{tag}"
    return Weights(
        name, architecture, tag, None, settings._replace(quick_gelu=quick), is_specified=True
    )


def _of_file(architecture: str, file: Path, quick: bool | None) -> Weights:
    """Weights of a file. The settings are those on which all of open_clip's weights for the
    architecture agree, or else those of the architecture."""
    default = _architecture_settings(architecture)
    own = default.quick_gelu
    of_tags = {tag: _tag_settings(architecture, tag) for tag in _tags(architecture)}
    fitting = {tag: use for tag, use in of_tags.items() if quick in (None, use.quick_gelu)}
    if quick is not None:
        default = default._replace(quick_gelu=quick)
    settings, tag = default, None
    unsure = {what for each in fitting.values() for what in default.differs_in(each)}
    # For an architecture with QuickGELU and tags without it, see _of_tag.
    if len(set(fitting.values())) == 1 and not (own and "activation" in unsure):
        agreed, settings = next(iter(fitting.items()))
        if settings != default:
            tag = agreed
        unsure &= {"activation"}
    name = "@".join(filter(None, (_named(architecture, quick), tag, str(file))))
    return Weights(
        name,
        architecture,
        tag,
        file,
        settings,
        is_specified=quick is not None,
        unsure=tuple(sorted(unsure)),
    )

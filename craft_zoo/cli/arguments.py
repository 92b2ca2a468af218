"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

from craft_zoo.blackbox import PRECISIONS, VLM, load_vlm
from craft_zoo.craft import CraftConfig
from craft_zoo.mini import NAME
from craft_zoo.optimizers.options import Option, parse_options, split_assignment


def add_model_arguments(parser: argparse.ArgumentParser, *, default: str | None = NAME) -> None:
    """--model, --pretrained, --device, --precision."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default=default,
        metavar="NAME",
        help="craft-mini (embedded), or an open_clip architecture as in 'ViT-B-32' "
        f"(default: {default or 'the one that the adapter was made for'})",
    )
    group.add_argument(
        "--pretrained",
        metavar="TAG|FILE",
        help="weights of an open_clip architecture: a tag as in 'openai', or a checkpoint's path",
    )
    group.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    group.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="of the model (default: fp32)"
    )


def open_model(options: argparse.Namespace) -> VLM:
    """The model that :func:`add_model_arguments` describes."""
    return load_vlm(
        options.model, options.pretrained, device=options.device, precision=options.precision
    )


def add_classnames_argument(parser: argparse.ArgumentParser) -> None:
    """--classnames."""
    parser.add_argument(
        "--classnames",
        metavar="FILE",
        help="words for the classes, one a line: folder name, tab, words "
        "(default: made from the folder names)",
    )


def add_out_argument(parser: argparse.ArgumentParser, default: str) -> None:
    """--out, the folder for what a command that can go on has finished."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(default),
        metavar="DIR",
        help=f"folder for the results (default: {default})",
    )


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """--set."""
    known = ", ".join(f"{option.name}={option.default}" for option in _config_options().values())
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help=f"change a setting of the method; repeatable. Settings and defaults: {known}",
    )


def read_config(options: argparse.Namespace) -> CraftConfig:
    """The configuration with what ``--set`` changes.

    Raises:
        OptimizerError: an unknown setting or a value of the wrong type.
        CraftZooError: a value out of range.
    """
    texts = dict(split_assignment(text) for text in options.set)
    return CraftConfig(**parse_options(texts, _config_options(), "the method's configuration"))


def _config_options() -> dict[str, Option]:
    hints = get_type_hints(CraftConfig)
    return {
        field.name: Option(field.name, hints[field.name], field.default)
        for field in fields(CraftConfig)
    }

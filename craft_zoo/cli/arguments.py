"""Command-line arguments that several commands share."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.console import Console

from craft_zoo.blackbox import VLM, ModelSpec, Price, is_address
from craft_zoo.blackbox.load import DEFAULT_MEMORY
from craft_zoo.console import say
from craft_zoo.counts import counted
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, Fewer, Sampling
from craft_zoo.errors import CraftZooError
from craft_zoo.hub import local_file
from craft_zoo.local_features import DEFAULT_FEATURES, feature_names
from craft_zoo.methods import method_names, read_settings, readers_of, setting_options
from craft_zoo.mini import NAME
from craft_zoo.openclip import PRECISIONS
from craft_zoo.optimizers.option import split_assignment

if TYPE_CHECKING:
    from craft_zoo.adapter import Adapter

_HELP_WIDTH = 79
_NAMED = 10  # skipped parts of a data set that are printed


def add_model_arguments(
    parser: argparse.ArgumentParser,
    *,
    default: str | None = NAME,
    otherwise: str = "the one that the adapter was made for",
) -> None:
    """Add --model, --pretrained, and the settings and cost limits of the model.

    Args:
        parser: the command's parser.
        default: the default model; None: the command chooses it.
        otherwise: description of that choice, for the help text.
    """
    group, money = group_of(parser, "model"), group_of(parser, "money")
    group.add_argument(
        "--model",
        default=default,
        metavar="NAME",
        help="craft-mini (embedded), an open_clip architecture as in 'ViT-B-32', a model of the "
        "hub or a folder, hf-hub:ORG/NAME or local-dir:FOLDER, the address of a served model, "
        "https://…, or a service by its scheme, openai:MODEL (see craft-zoo models) "
        f"(default: {default or otherwise})",
    )
    money.add_argument(
        "--max-predictions",
        type=int,
        metavar="N",
        help="maximum number of predictions that this command may request over a network",
    )
    add_price_argument(money, "as published, for services whose prices are known")
    money.add_argument(
        "--max-cost", type=float, metavar="M", help="maximum cost of the predictions, by --price"
    )
    group.add_argument(
        "--model-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set an option of a service, as in permutations=4; repeatable (see docs/services.md)",
    )
    group.add_argument(
        "--pretrained",
        metavar="TAG|FILE",
        help="weights of an open_clip architecture: a tag as in 'openai', a checkpoint's path, or "
        "TAG@FILE for a file that is used with the settings of the tag",
    )
    group.add_argument(
        "--quickgelu",
        action=argparse.BooleanOptionalAction,
        help="activation that the weights were trained with: QuickGELU (OpenAI's) or GELU "
        "(default: as the tag says; a file may not say it)",
    )
    group.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="floating-point type of the model (default: fp32; half precision is for GPUs)",
    )
    group.add_argument("--threads", type=int, help="number of CPU threads (default: one a core)")
    group.add_argument(
        "--memory",
        type=int,
        default=DEFAULT_MEMORY,
        metavar="MB",
        help="megabytes that scoring may use besides the model and the logits of one candidate "
        f"(default: {DEFAULT_MEMORY})",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="compile the text tower with torch.compile: slow to start, for long runs on a GPU",
    )
    group.add_argument(
        "--no-cache",
        action="store_true",
        help="do not read or write the cache of image features (see craft-zoo cache)",
    )


def add_adapter_argument(parser: argparse.ArgumentParser) -> None:
    """Add ADAPTER."""
    parser.add_argument(
        "adapter",
        metavar="ADAPTER",
        help="file that tune saved, or hf://user/name[@revision] on the Hugging Face hub",
    )


def add_transductive_argument(parser: argparse.ArgumentParser) -> None:
    """Add --transductive."""
    group_of(parser, "output").add_argument(
        "--transductive",
        action="store_true",
        help="classify the images together, not one by one: with few training images and many new "
        "ones, more of them are right, at no cost; the answer about an image then depends on the "
        "others; for adapters with anchors",
    )


def load_adapter(options: argparse.Namespace) -> Adapter:
    """Load the adapter; ``options.adapter`` becomes the path of its file, downloaded if need be.

    Raises:
        CraftZooError: see :meth:`Adapter.load`.
    """
    from craft_zoo.adapter import Adapter

    options.adapter = local_file(options.adapter)
    return Adapter.load(options.adapter)


def open_adapters_model(options: argparse.Namespace, adapter: Adapter) -> VLM:
    """Open the model that ``--model`` names, by default the one that the adapter was tuned for.

    Raises:
        CraftZooError: see :func:`load_vlm`; or only the adapter names the model, by an address.
            The adapter's author could otherwise receive the user's images and API key.
    """
    if options.model is None and is_address(adapter.model):
        raise CraftZooError(
            f"{options.adapter} belongs to the model at {adapter.model}, where your images and "
            f"your key would be sent: add --model {adapter.model} to allow it"
        )
    return read_model(options, adapter.model).open()


def add_price_argument(group: argparse._ActionsContainer, default: str) -> None:
    """Add --price; ``default`` says which price is taken without it."""
    group.add_argument(
        "--price",
        type=_price,
        metavar="P",
        help="price of 1,000 predictions, in your currency; or by unit, as in "
        "input_tokens=0.1,requests=0.01: of a million tokens, of a request, of an image; that of a "
        "language model by llm_input_tokens, llm_output_tokens, llm_requests "
        f"(default: {default})",
    )


def _price(text: str) -> Price:
    try:
        return Price.parse(text)
    except CraftZooError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_model(options: argparse.Namespace, default: str = NAME) -> ModelSpec:
    """The model specification from the arguments of :func:`add_model_arguments`.

    Args:
        options: parsed arguments.
        default: the model if ``--model`` is not given.
    """
    return ModelSpec(
        options.model or default,
        options.pretrained,
        quickgelu=options.quickgelu,
        device=options.device,
        precision=options.precision,
        memory=options.memory,
        compile=options.compile,
        cache=not options.no_cache,
        max_predictions=options.max_predictions,
        price=options.price,
        max_cost=options.max_cost,
        options=tuple(split_assignment(text) for text in options.model_option),
    )


def add_classnames_argument(parser: argparse.ArgumentParser) -> None:
    """Add --classnames."""
    group_of(parser, "data").add_argument(
        "--classnames",
        metavar="FILE",
        help="words for the classes, one a line: folder name, tab, words "
        "(default: made from the folder names)",
    )


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --data-root, --download and --skip-bad.

    The defaults are None, so that the values of a plan are used unless an argument is given.
    """
    group = group_of(parser, "data")
    group.add_argument(
        "--data-root",
        metavar="DIR",
        help="folder that contains the published data sets (default: CRAFT_ZOO_DATA)",
    )
    group.add_argument(
        "--download",
        action="store_true",
        default=None,
        help="download missing files of the published data sets where possible",
    )
    group.add_argument(
        "--skip-bad",
        action="store_true",
        default=None,
        help="open every image first, and leave out broken ones and unlabelled files; they are "
        "counted and named",
    )


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --sampling and --fewer, without defaults as in :func:`add_data_arguments`."""
    group = group_of(parser, "data")
    group.add_argument(
        "--sampling",
        choices=get_args(Sampling),
        help="how shots are drawn: uniformly, or as CoOp draws them by seed (default: uniform)",
    )
    group.add_argument(
        "--fewer",
        choices=get_args(Fewer),
        help="if a class has fewer images than shots: error; all: each of them once; repeat: draw "
        "with replacement, as Dassl before October 2021 (default: error)",
    )


def given_data(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of the data set that were given, with the keys of a plan."""
    names = ("data_root", "download", "skip_bad", "sampling", "fewer")
    return {name: value for name in names if (value := getattr(options, name, None)) is not None}


def read_dataset(options: argparse.Namespace) -> DatasetSpec:
    """The data set specification from a command's arguments."""
    given = given_data(options)
    root = given.pop("data_root", None)
    return DatasetSpec(options.dataset, options.classnames, root, **given)


def say_skipped(name: str, skipped: Sequence[str], console: Console) -> None:
    """Print the number of skipped parts of a data set, and the first of them."""
    if not skipped:
        return
    say(console, f"{name}: {len(skipped):,} left out")
    say(console, *(f"  {sentence}" for sentence in skipped[:_NAMED]))
    if len(skipped) > _NAMED:
        say(console, f"  and {len(skipped) - _NAMED:,} more")


def say_refused(refused: int, console: Console) -> None:
    """Print how many questions a service has refused, if any."""
    if refused:
        say(console, f"{counted(refused, 'question')} refused, and counted as undecided")


def add_out_argument(parser: argparse.ArgumentParser, default: str) -> None:
    """Add --out, the results folder of a command that can be resumed."""
    group_of(parser, "output").add_argument(
        "--out",
        type=Path,
        default=Path(default),
        metavar="DIR",
        help=f"folder for the results (default: {default})",
    )


def check_file(path: Path, flag: str) -> None:
    """Check that the file that is the value of an argument can be written.

    Raises:
        CraftZooError: it cannot.
    """
    if not path.parent.is_dir():
        raise CraftZooError(f"folder {path.parent} does not exist: create it")
    if path.is_dir():
        raise CraftZooError(f"{flag} {path} is a folder: name a file in it")
    if not os.access(path.parent, os.W_OK):
        raise CraftZooError(f"folder {path.parent} cannot be written: choose another {flag}")


def check_out(out: Path, *, force: bool) -> None:
    """Check that ``--out`` can be written, and replaces a file only with ``--force``.

    Raises:
        CraftZooError: the check fails.
    """
    check_file(out, "--out")
    if out.exists() and not force:
        raise CraftZooError(f"{out} exists: choose another --out, or replace it with --force")


def add_in_flight_argument(parser: argparse.ArgumentParser) -> None:
    """Add --in-flight."""
    group_of(parser, "model").add_argument(
        "--in-flight",
        type=int,
        metavar="N",
        help="number of contexts that are queried at once; if the process is killed, only their "
        "answers can be lost (default: the model's choice, 40 for a local one; a continued run "
        "keeps its first number)",
    )


def check_in_flight(options: argparse.Namespace) -> None:
    """Check the argument of :func:`add_in_flight_argument`.

    Raises:
        CraftZooError: ``--in-flight`` is below 1.
    """
    if options.in_flight is not None and options.in_flight < 1:
        raise CraftZooError(f"--in-flight must be at least 1, not {options.in_flight}")


def add_config_argument(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add --per-image and --set.

    Args:
        parser: the command's parser.
        several: whether --per-image may be repeated, to compare limits.
    """
    group = group_of(parser, "method")
    group.add_argument(
        "--per-image",
        type=float,
        action="append" if several else "store",
        metavar="K",
        help="maximum number of predictions that a deployed image costs, for anchors and "
        f"craft-anchors{'; repeatable, to compare' * several} (default: 0, no limit)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="change a setting of the method; repeatable; see the settings below",
    )
    group.add_argument(
        "--local",
        nargs="?",
        const=DEFAULT_FEATURES,
        metavar="NAMES",
        help="add a classifier on features of the images that this machine computes, at no query "
        f"and no prediction: {', '.join(feature_names())}, joined by + (default: "
        f"{DEFAULT_FEATURES}); short for --set local=NAMES",
    )
    parser.epilog = f"{parser.epilog}\n\n{settings_help()}"


def settings_help() -> str:
    """Help text of the settings: defaults, and the methods that read them; 79 columns wide."""
    readers: dict[tuple[str, ...], list[str]] = {}
    for option in setting_options().values():
        text = f"{option.name}={option.default}"
        readers.setdefault(tuple(readers_of(option.name)), []).append(text)
    lines = ["settings for --set, with their defaults, by the methods that read them:"]
    for names, texts in readers.items():
        everyone = len(names) == len(method_names())
        lines += textwrap.wrap(
            f"{'all' if everyone else ', '.join(names)}: {', '.join(texts)}",
            _HELP_WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def group_of(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    """The argument group with a title; it is created if the parser has none."""
    groups = {group.title: group for group in parser._action_groups}
    return groups.get(title) or parser.add_argument_group(title)


def read_assignments(options: argparse.Namespace) -> dict[str, str]:
    """The assignments of ``--set`` and its short forms as name → value.

    Raises:
        OptimizerError: an assignment is not of the form ``option=value``.
    """
    given = dict(split_assignment(text) for text in options.set)
    if options.local is not None:
        given["local"] = options.local
    if isinstance(options.per_image, float):
        given["per_image"] = str(options.per_image)
    return given


def read_config(options: argparse.Namespace) -> CraftConfig:
    """The method's configuration with the assignments of ``--set`` and ``--per-image``.

    Raises:
        OptimizerError: an unknown setting or a value of the wrong type.
        CraftZooError: a value out of range.
    """
    return read_settings(read_assignments(options))

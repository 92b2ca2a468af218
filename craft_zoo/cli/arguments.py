"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.console import Console

from craft_zoo.blackbox import VLM, CostLimit, ModelSpec, is_address
from craft_zoo.blackbox.load import DEFAULT_MEMORY
from craft_zoo.craft import CraftConfig, read_settings, setting_options
from craft_zoo.data import DatasetSpec, Fewer, Sampling
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import method_names, readers_of
from craft_zoo.mini import NAME
from craft_zoo.openclip import PRECISIONS
from craft_zoo.optimizers.option import split_assignment

if TYPE_CHECKING:
    from craft_zoo.adapter import Adapter

_HELP_WIDTH = 79
_NAMED = 10  # of what was left out


def add_model_arguments(
    parser: argparse.ArgumentParser,
    *,
    default: str | None = NAME,
    otherwise: str = "the one that the adapter was made for",
) -> None:
    """--model, --pretrained, and how to compute with it.

    Args:
        parser: of the command.
        default: the model where none is named; None: the command decides.
        otherwise: what it then is, in words.
    """
    group, money = group_of(parser, "model"), group_of(parser, "money")
    group.add_argument(
        "--model",
        default=default,
        metavar="NAME",
        help="craft-mini (embedded), an open_clip architecture as in 'ViT-B-32', or the address of "
        "a served model, https://… or hf-api:https://… "
        f"(default: {default or otherwise})",
    )
    money.add_argument(
        "--max-predictions",
        type=int,
        metavar="N",
        help="the most that a model behind a network may be asked for by this command",
    )
    money.add_argument(
        "--price",
        type=float,
        metavar="P",
        help="what 1,000 predictions cost, in your currency",
    )
    money.add_argument(
        "--max-cost", type=float, metavar="M", help="the most that they may cost, by --price"
    )
    group.add_argument(
        "--pretrained",
        metavar="TAG|FILE",
        help="weights of an open_clip architecture: a tag as in 'openai', a checkpoint's path, or "
        "TAG@FILE for a file that is to be used as the tag's weights are",
    )
    group.add_argument(
        "--quickgelu",
        action=argparse.BooleanOptionalAction,
        help="the activation that the weights were trained with: QuickGELU as OpenAI's, or GELU "
        "(default: what the tag says; a file may not say it)",
    )
    group.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="of the model (default: fp32; half precision is for GPUs)",
    )
    group.add_argument("--threads", type=int, help="threads to compute with (default: one a core)")
    group.add_argument(
        "--memory",
        type=int,
        default=DEFAULT_MEMORY,
        metavar="MB",
        help="megabytes that scoring may take beside the model and the logits of one candidate "
        f"(default: {DEFAULT_MEMORY})",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="run the text tower through torch.compile: slow to start, for long runs on a GPU",
    )
    group.add_argument(
        "--no-cache",
        action="store_true",
        help="neither read nor keep image features on disk (see craft-zoo cache)",
    )


def open_adapters_model(options: argparse.Namespace, adapter: Adapter) -> VLM:
    """The model that an adapter belongs to, or which ``--model`` names.

    Raises:
        CraftZooError: see :func:`load_vlm`; or it is behind an address that only the adapter
            names. Whoever wrote the adapter could have keys and images sent there.
    """
    if options.model is None and is_address(adapter.model):
        raise CraftZooError(
            f"{options.adapter} belongs to the model at {adapter.model}, where your images and "
            f"your key would be sent: say --model {adapter.model} if that is meant"
        )
    return read_model(options, adapter.model).open()


def check_limits(
    options: argparse.Namespace, predictions: int, mend: str = "name fewer images"
) -> None:
    """Refuse what ``--max-predictions`` or ``--max-cost`` may not allow, before anything is asked.

    A limit that is met in the middle would lose what was paid until then.

    Args:
        options: as parsed.
        predictions: that the command may ask for.
        mend: what would make it ask for fewer.

    Raises:
        CraftZooError: they may exceed one of the limits.
    """
    most, price, max_cost = options.max_predictions, (options.price or 0) / 1000, options.max_cost
    exceeded = CostLimit(most, price, max_cost).exceeded_by(predictions)
    if exceeded == "predictions":
        raise CraftZooError(
            f"the command may ask for {predictions:,} predictions, more than --max-predictions "
            f"{most:,}: raise that or {mend}"
        )
    if exceeded == "cost":
        raise CraftZooError(
            f"the command may cost {predictions * price:,.2f}, more than --max-cost "
            f"{max_cost:g}: raise that or {mend}"
        )


def billed_an_image(adapter: Adapter) -> int:
    """Predictions that a service bills for an image: one for each prompt, however many texts."""
    anchors = adapter.solution.anchors
    return 1 if anchors is None else 1 + len(anchors.prompts)


def read_model(options: argparse.Namespace, default: str = NAME) -> ModelSpec:
    """The model that :func:`add_model_arguments` describes.

    Args:
        options: as parsed.
        default: the model where ``--model`` names none.
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
        price=None if options.price is None else options.price / 1000,
        max_cost=options.max_cost,
    )


def add_classnames_argument(parser: argparse.ArgumentParser) -> None:
    """--classnames."""
    group_of(parser, "data").add_argument(
        "--classnames",
        metavar="FILE",
        help="words for the classes, one a line: folder name, tab, words "
        "(default: made from the folder names)",
    )


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """--data-root, --download, and what to do with data that are not as they should be.

    Nothing is given by default, as a plan may say it.
    """
    group = group_of(parser, "data")
    group.add_argument(
        "--data-root",
        metavar="DIR",
        help="folder that the field's data sets lie in (default: CRAFT_ZOO_DATA)",
    )
    group.add_argument(
        "--download",
        action="store_true",
        default=None,
        help="fetch what is missing, where that can be done",
    )
    group.add_argument(
        "--skip-bad",
        action="store_true",
        default=None,
        help="open every image first, and leave out broken ones and unlabelled files; they are "
        "counted and named",
    )
    group.add_argument(
        "--sampling",
        choices=get_args(Sampling),
        help="of the few shots: uniform, or the sets that CoOp draws for a seed (default: uniform)",
    )
    group.add_argument(
        "--fewer",
        choices=get_args(Fewer),
        help="where a class has fewer images than shots: an error, or all of them (default: error)",
    )


def given_data(options: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add_data_arguments` has read, as far as it was given; keys as in a plan."""
    names = ("data_root", "download", "skip_bad", "sampling", "fewer")
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def read_dataset(options: argparse.Namespace) -> DatasetSpec:
    """The data set of a command that takes one, and how it is opened."""
    given = given_data(options)
    root = given.pop("data_root", None)
    return DatasetSpec(options.dataset, options.classnames, root, **given)


def say_skipped(name: str, skipped: Sequence[str], console: Console) -> None:
    """Count and name what was left out of a data set."""
    if not skipped:
        return
    console.print(f"{name}: {len(skipped):,} left out", markup=False)
    for sentence in skipped[:_NAMED]:
        console.print(f"  {sentence}", soft_wrap=True, markup=False)
    if len(skipped) > _NAMED:
        console.print(f"  and {len(skipped) - _NAMED:,} more")


def add_out_argument(parser: argparse.ArgumentParser, default: str) -> None:
    """--out, the folder for what a command that can go on has finished."""
    group_of(parser, "output").add_argument(
        "--out",
        type=Path,
        default=Path(default),
        metavar="DIR",
        help=f"folder for the results (default: {default})",
    )


def add_in_flight_argument(parser: argparse.ArgumentParser) -> None:
    """--in-flight."""
    group_of(parser, "model").add_argument(
        "--in-flight",
        type=int,
        metavar="N",
        help="contexts that the model is asked about at once, whose answers a kill can lose; the "
        "others are read from the record (default: as the model likes: 40 of a local one; a run "
        "that is continued keeps the number that it was begun with)",
    )


def check_in_flight(options: argparse.Namespace) -> None:
    """Complain of what :func:`add_in_flight_argument` has read, where it is no number of contexts.

    Raises:
        CraftZooError: it is below 1.
    """
    if options.in_flight is not None and options.in_flight < 1:
        raise CraftZooError(f"--in-flight must be at least 1, not {options.in_flight}")


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """--set."""
    group_of(parser, "method").add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="change a setting of the method; repeatable; see the settings below",
    )
    parser.epilog = f"{parser.epilog}\n\n{settings_help()}"


def settings_help() -> str:
    """The settings with their defaults, and the methods that read them, 80 columns wide."""
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
    """The group of arguments that has a title in the help, made where there is none."""
    groups = {group.title: group for group in parser._action_groups}
    return groups.get(title) or parser.add_argument_group(title)


def read_assignments(options: argparse.Namespace) -> dict[str, str]:
    """What ``--set`` has set, by name.

    Raises:
        OptimizerError: it is not of the form ``option=value``.
    """
    return dict(split_assignment(text) for text in options.set)


def read_config(options: argparse.Namespace) -> CraftConfig:
    """The configuration with what ``--set`` changes.

    Raises:
        OptimizerError: an unknown setting or a value of the wrong type.
        CraftZooError: a value out of range.
    """
    return read_settings(read_assignments(options))

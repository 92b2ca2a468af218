"""Serve a model over HTTP: clients send images and prompts, and receive scores only.

Or serve an adapter: clients send images, and receive classes with probabilities. See
docs/serving.md for TLS and for what clients can infer about the model.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from craft_zoo.cli.arguments import (
    add_model_arguments,
    load_adapter,
    open_adapters_model,
    read_model,
)
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.errors import CraftZooError, needs_extra
from craft_zoo.mini import NAME
from craft_zoo.optimizers.option import split_assignment

if TYPE_CHECKING:
    from craft_zoo.server import Accounts, Limits

_ANSWERS = ("logits", "log-probabilities")
_LAST_PORT = 65_535
_LONGEST_GRACE = 86_400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = parser.add_argument_group("adapter")
    group.add_argument(
        "--adapter",
        metavar="ADAPTER",
        help="serve a saved adapter, or one of the hub (hf://user/name), at POST /v1/classify",
    )
    group.add_argument(
        "--with-model",
        action="store_true",
        help="with --adapter, also serve its model",
    )
    add_model_arguments(
        parser, default=None, otherwise=f"the one that the adapter was made for, or {NAME}"
    )
    group = parser.add_argument_group("server")
    group.add_argument("--host", default="127.0.0.1", help="to listen at (default: 127.0.0.1)")
    group.add_argument(
        "--port", type=int, default=8000, help="to listen at; 0: a free one (default: 8000)"
    )
    group.add_argument(
        "--name",
        help="name of the model that clients see (default: from --model and --pretrained, without "
        "the folder of a file)",
    )
    group.add_argument(
        "--state",
        type=Path,
        default=Path("craft-zoo-state"),
        metavar="DIR",
        help="folder for the bills and for answers that are kept to be sent again "
        "(default: craft-zoo-state)",
    )
    group.add_argument(
        "--metrics-host",
        action="append",
        default=[],
        metavar="NAME",
        help="Host header with which /metrics may be requested, besides IP addresses, names "
        "without dots and this machine's own name; repeatable",
    )
    group.add_argument(
        "--grace",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="time for requests in progress to finish when the server is stopped (default: 60)",
    )
    group = parser.add_argument_group("keys")
    group.add_argument(
        "--keys",
        type=Path,
        metavar="FILE",
        help="accounts with hashes of their keys (default: one new key, shown at the start)",
    )
    group.add_argument(
        "--new-key",
        metavar="NAME",
        help="add an account to --keys with the hash of a new key, print the key once and exit",
    )
    group.add_argument(
        "--quota",
        type=int,
        metavar="N",
        help="maximum predictions of the account of --new-key (default: unlimited)",
    )
    group = parser.add_argument_group("answers and limits")
    group.add_argument(
        "--answers",
        choices=_ANSWERS,
        help="scores of the model to return (default: logits); an adapter returns probabilities",
    )
    group.add_argument(
        "--top-k",
        type=int,
        metavar="K",
        help="return only an image's K best scores unchanged, for log-probabilities; or its K "
        "likeliest classes, by an adapter (default: all)",
    )
    group.add_argument(
        "--decimals",
        type=int,
        default=6,
        metavar="N",
        help="to which probabilities of /v1/decisions and /v1/systemone are rounded (default: 6)",
    )
    group.add_argument(
        "--embeddings",
        action="store_true",
        help="give the features of images and texts away: POST /v1/embeddings",
    )
    group.add_argument(
        "--max-batch",
        type=int,
        default=1024,
        metavar="N",
        help="maximum number of texts (prompts x classes) in one call of the model; larger "
        "requests are split, so that others can run in between; 1: never batch several requests "
        "(default: 1024)",
    )
    group.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a limit, as in pixels=4000000; repeatable (docs/serving.md lists all)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    with needs_extra("serve", "serving"):
        from craft_zoo import server
    if options.new_key is not None:
        return _make_key(options)
    if options.quota is not None:
        raise CraftZooError("--quota belongs to --new-key: give both, or write it into the file")
    _check_running(options)
    limits = _limits(options.limit)
    adapter = None if options.adapter is None else load_adapter(options)
    # An adapter alone answers with probabilities, and --answers is not given.
    in_logs = options.answers == "log-probabilities" or (adapter and not options.with_model)
    accounts = _accounts(options)
    settings = server.ServeSettings(
        accounts,
        state=options.state,
        answers="log_probabilities" if in_logs else "logits",
        top_k=options.top_k,
        max_batch=options.max_batch,
        limits=limits,
        name=options.name,
        metrics_hosts=tuple(options.metrics_host),
        decimals=options.decimals,
        embeddings=options.embeddings,
    )
    if adapter is None:
        vlm, deployed = read_model(options).open(), None
    else:
        vlm = open_adapters_model(options, adapter)
        written = datetime.fromtimestamp(options.adapter.stat().st_mtime, UTC)
        deployed = DeployedAdapter(adapter, vlm, written.replace(microsecond=0))
    app = server.create_app(vlm, settings, adapter=deployed, with_model=options.with_model)
    what = app.state.service.name
    if deployed is not None:
        what = f"{options.adapter.name} of {what}"
    server.run(
        app,
        options.host,
        options.port,
        grace=options.grace,
        listening=lambda address: print(f"Serving {what} at {address}", flush=True),
    )
    return 0


def _check_running(options: argparse.Namespace) -> None:
    if not 0 <= options.port <= _LAST_PORT:
        raise CraftZooError(f"there is no port {options.port}: choose one from 0 to {_LAST_PORT}")
    if not 0 <= options.grace <= _LONGEST_GRACE:
        raise CraftZooError(
            f"the server cannot be given {options.grace:g} seconds to stop: choose a --grace from "
            f"0 to {_LONGEST_GRACE}"
        )
    if options.name is not None and not (options.name.strip() and options.name.isprintable()):
        raise CraftZooError(f"{options.name!r} is not a valid model name: use letters")
    if options.with_model and options.adapter is None:
        raise CraftZooError("--with-model belongs to --adapter: name the adapter, or leave it out")
    if options.answers is not None and options.adapter is not None and not options.with_model:
        raise CraftZooError(
            "--answers is about the model, and --adapter serves only the adapter: add --with-model "
            "or leave --answers out"
        )


def _make_key(options: argparse.Namespace) -> int:
    from craft_zoo.server import add_account

    if options.keys is None:
        raise CraftZooError("--new-key writes a hash of the key to a file: name it with --keys")
    key = add_account(options.keys, options.new_key, options.quota)
    print(
        f"{options.new_key}'s key, which is shown only now (restart a running server, which read "
        f"{options.keys} at its start):",
        file=sys.stderr,
    )
    print(key)
    return 0


def _accounts(options: argparse.Namespace) -> Accounts:
    from craft_zoo.server import Accounts, new_account

    if options.keys is not None:
        return Accounts.read(options.keys)
    account, key = new_account("owner")
    print(f"The key of this run: {key}", flush=True)
    return Accounts([account])


def _limits(assignments: list[str]) -> Limits:
    from craft_zoo.server import Limits

    defaults = asdict(Limits())
    given: dict[str, Any] = {}
    for name, text in map(split_assignment, assignments):
        if name not in defaults:
            raise CraftZooError(f"unknown limit {name!r}: choose {', '.join(defaults)}")
        try:
            given[name] = type(defaults[name])(text)
        except ValueError:
            raise CraftZooError(f"the limit {name} must be a number, not {text!r}") from None
    return Limits(**given)

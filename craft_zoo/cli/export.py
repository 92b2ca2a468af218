"""Write an adapter's refiner for programs without craft-zoo.

The ONNX file (extra onnx) takes the logits that the model returns under the adapter's prompt and
gives the deployed logits and probabilities. Its metadata name the classes and the prompt.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from craft_zoo.adapter import Adapter
from craft_zoo.cli.arguments import group_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("adapter", type=Path, metavar="ADAPTER", help="file that tune saved")
    group_of(parser, "output").add_argument(
        "--onnx", type=Path, required=True, metavar="FILE", help="the ONNX file to write"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    Adapter.load(options.adapter).to_onnx(options.onnx)
    print(f"Saved {options.onnx}")
    return 0

"""Write an adapter's refiner for programs without craft-zoo.

The ONNX file (extra onnx) takes the logits that the model returns under the adapter's prompt and
gives the deployed logits and probabilities. Its metadata name the classes and the prompt.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from craft_zoo.cli.arguments import add_adapter_argument, group_of, load_adapter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_adapter_argument(parser)
    group_of(parser, "output").add_argument(
        "--onnx", type=Path, required=True, metavar="FILE", help="the ONNX file to write"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    load_adapter(options).to_onnx(options.onnx)
    print(f"Saved {options.onnx}")
    return 0

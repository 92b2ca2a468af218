"""An adapter's refiner as an ONNX model, for programs without craft-zoo."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_zoo.errors import needs_extra
from craft_zoo.refiner import ConvexRefiner

if TYPE_CHECKING:
    from craft_zoo.adapter import Adapter

_OPSET, _IR = 17, 8  # of 2022, which ONNX Runtime reads since 1.13


def onnx_bytes(adapter: Adapter) -> bytes:
    """The content of an ONNX file that refines a model's logits as an adapter does.

    Inputs, float32: ``logits`` (N, C) under the adapter's prompt; ``anchors`` (N, M), their logits,
    if the adapter has anchors; ``features`` (N, F), the local features one after another, if it has
    some. Outputs, float32: ``refined`` (N, C), the deployed logits, and ``probabilities`` (N, C),
    their softmax at the adapter's temperature. The metadata ``craft_zoo`` is JSON with the class
    names, the model, the prompt in words (null for a context) and the names of the local features.

    Raises:
        CraftZooError: the extra ``onnx`` is missing.
    """
    with needs_extra("onnx", "an ONNX file"):
        import onnx
    graph = _Graph()
    solution, n_classes = adapter.solution, len(adapter.classnames)
    refined = answers = graph.input("logits", n_classes)
    refiner, local = solution.refiner, solution.local
    if isinstance(refiner, ConvexRefiner):
        refined = graph.affine(refined, refiner.slope, refiner.bias)
        if refiner.n_anchors:
            anchors = graph.input("anchors", refiner.n_anchors)
            answers = graph.add("Concat", answers, anchors, axis=-1)
            mean = graph.add("ReduceMean", anchors, axes=[-1], keepdims=1)
            weight = graph.constant(refiner.weight[n_classes:])
            of_anchors = graph.add("MatMul", graph.add("Sub", anchors, mean), weight)
            refined = graph.add("Add", refined, of_anchors)
    elif refiner is not None:
        values = {name: np.asarray(value) for name, value in refiner.state_dict().items()}
        hidden = graph.affine(refined, values["net.0.weight"].T, values["net.0.bias"])
        hidden = graph.add("Relu", hidden)
        correction = graph.affine(hidden, values["net.2.weight"].T, values["net.2.bias"])
        refined = graph.add("Add", refined, correction)
    if refiner is not None:  # an image that was refused, see Solution.refine
        largest = graph.add("ReduceMax", graph.add("Abs", answers), axes=[-1], keepdims=1)
        zero = graph.constant(np.float32(0))
        refined = graph.add("Where", graph.add("Greater", largest, zero), refined, zero)
    if local is not None:
        features = graph.input("features", len(local.weight))
        refined = graph.add("Add", refined, graph.affine(features, local.weight, local.bias))
    refined = graph.add("Identity", refined, output="refined")
    temperature = graph.constant(np.float32(adapter.temperature))
    scaled = graph.add("Div", refined, temperature)
    graph.add("Softmax", scaled, output="probabilities", axis=-1)
    model = graph.model(["refined", "probabilities"], n_classes)
    prompt = solution.prompt
    about = {
        "classnames": list(adapter.classnames),
        "model": adapter.model,
        "template": None if isinstance(prompt, np.ndarray) else prompt,
        "local": None if local is None else local.features,
    }
    onnx.helper.set_model_props(model, {"craft_zoo": json.dumps(about)})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


class _Graph:
    """Inputs, constants and operations of an ONNX graph, each named when it is added."""

    def __init__(self) -> None:
        self._inputs: list[Any] = []
        self._constants: list[Any] = []
        self._nodes: list[Any] = []

    def input(self, name: str, width: int) -> str:
        self._inputs.append(_matrix(name, width))
        return name

    def constant(self, value: np.ndarray | np.float32) -> str:
        import onnx

        name = f"constant{len(self._constants)}"
        array = np.array(value, dtype=np.float32, order="C")
        self._constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, operation: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        import onnx

        name = output or f"value{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(operation, inputs, [name], **attributes))
        return name

    def affine(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        product = self.add("MatMul", x, self.constant(weight))
        return self.add("Add", product, self.constant(bias))

    def model(self, outputs: list[str], width: int) -> Any:
        import onnx

        graph = onnx.helper.make_graph(
            self._nodes,
            "refiner",
            self._inputs,
            [_matrix(name, width) for name in outputs],
            self._constants,
        )
        return onnx.helper.make_model(
            graph,
            producer_name="craft-zoo",
            opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
            ir_version=_IR,
        )


def _matrix(name: str, width: int) -> Any:
    import onnx

    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", width])

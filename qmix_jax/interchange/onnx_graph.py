"""A small builder of ONNX programs: every call adds one operation and returns the name of its result.

jax2onnx could translate the traced policy, but pins an old orbax-checkpoint and adds two dozen packages.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET, _IR_VERSION = 17, 8  # readable by runtimes since 2022; LayerNormalization needs opset 17
_TYPES = {"float32": TensorProto.FLOAT, "bool": TensorProto.BOOL, "int64": TensorProto.INT64}
Shape = Sequence[int | str]  # a name stands for a dynamic size


class Graph:
    """An ONNX program under construction."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def input(self, name: str, dtype: str, shape: Shape) -> str:
        """Declare an input."""
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))
        return name

    def output(self, name: str, value: str, dtype: str, shape: Shape) -> None:
        """Declare an output under its own name."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))

    def constant(self, value: Any) -> str:
        """Add a number or an array; floats become float32, integers int64."""
        array = np.asarray(value)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Add an operation of the ONNX standard."""
        name = f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name

    def take(self, value: str, first: int, last: int) -> str:
        """Add value[..., first:last]."""
        return self.add("Slice", value, *(self.constant([number]) for number in (first, last, -1)))

    def concatenate(self, *values: str) -> str:
        """Concatenate along the last axis."""
        return self.add("Concat", *values, axis=-1)

    def as_float(self, value: str) -> str:
        """Cast to float32."""
        return self.add("Cast", value, to=TensorProto.FLOAT)

    def serialised(self, notes: Mapping[str, str]) -> bytes:
        """Return the file's content, checked against the standard, with `notes` as metadata."""
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, self._constants)
        model = helper.make_model(
            graph, producer_name="qmix_jax", opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
        )
        helper.set_model_props(model, dict(notes))
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())

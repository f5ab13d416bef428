"""A keystream network as an ONNX file, for other languages and for browsers.

Integer operators only, of opset 18 (ONNX 1.13, 2022), all of them in onnxruntime's CPU and
WebAssembly builds.  A file does one step of the definition: from a frame's material, the block
counters and the key biases to the blocks.  Hashing stays outside, since ONNX has none, and so
does the key: a file holds public weights only.  Needs the package `onnx`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper

from shared.keystream.layers import COUNTER_LANES, FOLD_SHIFT
from shared.keystream.network import KeystreamNetwork

__all__ = ["COUNTERS", "KEYSTREAM", "KEY_BIASES", "MATERIAL", "build_model"]

# What a file reads and gives.
MATERIAL = "material"  # uint8 (lanes - 8,): SHAKE-256 over key and frame counter
COUNTERS = "block_counters"  # uint8 (blocks, 8): most significant byte first
KEY_BIASES = "key_biases"  # int32 (all layers' output lanes,): SHAKE-256 over the key, 0..65535
KEYSTREAM = "keystream"  # uint8 (blocks, lanes)

_OPSET = 18  # the first with BitwiseXor
_IR_VERSION = 8  # the one of ONNX 1.13, so that older runtimes read the file as well


def build_model(network: KeystreamNetwork) -> ModelProto:
    """Return `network` as a checked ONNX model, with its family and digest as metadata."""
    graph = _Graph()
    activations = [graph.block_input()]
    biases = graph.key_biases([layer.lanes_out for layer in network.layers])
    for number, (layer, key_bias) in enumerate(zip(network.layers, biases, strict=True), start=1):
        weight = graph.constant(f"weight{number}", layer.weight.T)
        bias = graph.add("Add", graph.constant(f"bias{number}", layer.bias), key_bias)
        total = graph.add("Add", graph.add("MatMulInteger", activations[-1], weight), bias)
        output = graph.fold(total)
        if layer.add_from is not None:
            added = graph.cast(activations[layer.add_from], np.int32)
            output = graph.add("Add", graph.cast(output, np.int32), added)
        # Casts between integers keep the low bits: mod 256, as the definition says.
        last = number == len(network.layers)
        activations.append(graph.cast(output, np.uint8, name=KEYSTREAM if last else None))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            f"veilscope-keystream-{network.family}",
            [
                _value(MATERIAL, TensorProto.UINT8, network.lanes - COUNTER_LANES),
                _value(COUNTERS, TensorProto.UINT8, "blocks", COUNTER_LANES),
                _value(KEY_BIASES, TensorProto.INT32, sum(ly.lanes_out for ly in network.layers)),
            ],
            [_value(KEYSTREAM, TensorProto.UINT8, "blocks", network.lanes)],
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="veilscope",
    )
    helper.set_model_props(model, {"family": network.family, "digest": network.digest.hex()})
    checker.check_model(model, full_check=True)
    return model


def _value(name: str, kind: int, *shape: int | str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


class _Graph:
    """Nodes and constants in the order in which they were added; values go by their names."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.shift = self.constant("fold_shift", np.array(FOLD_SHIFT, dtype=np.uint32))

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, name: str | None = None, **options: Any) -> str:
        output = name or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **options))
        return output

    def cast(self, value: str, dtype: type[np.generic], *, name: str | None = None) -> str:
        to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.add("Cast", value, name=name, to=to)

    def block_input(self) -> str:
        """Material and counter side by side, uint8 (blocks, lanes)."""
        blocks = self.add("Shape", COUNTERS, start=0, end=1)
        one = self.constant("one", np.array([1], dtype=np.int64))
        repeats = self.add("Concat", blocks, one, axis=0)
        row = self.add("Unsqueeze", MATERIAL, self.constant("axis", np.array([0], dtype=np.int64)))
        return self.add("Concat", self.add("Tile", row, repeats), COUNTERS, axis=1)

    def key_biases(self, widths: list[int]) -> list[str]:
        names = [f"key_bias{number}" for number in range(1, len(widths) + 1)]
        sizes = self.constant("widths", np.array(widths, dtype=np.int64))
        self.nodes.append(helper.make_node("Split", [KEY_BIASES, sizes], names, axis=0))
        return names

    def fold(self, total: str) -> str:
        """int32 to a uint32 whose low byte is the fold; BitShift knows unsigned numbers only."""
        bits = self.cast(total, np.uint32)
        shifted = self.add("BitShift", bits, self.shift, direction="RIGHT")
        return self.add("BitwiseXor", bits, shifted)

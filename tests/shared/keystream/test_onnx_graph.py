from __future__ import annotations

import hashlib
import struct
import sys

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
from onnx import TensorProto, shape_inference
from onnx.reference import ReferenceEvaluator

from shared.errors import DeviceUnavailable
from shared.keystream import onnx_backend
from shared.keystream.layers import Layer
from shared.keystream.network import KeystreamNetwork, load_network, shipped_families
from shared.keystream.onnx_backend import OnnxBackend
from shared.keystream.onnx_graph import build_model
from shared.keystream.reference import ReferenceBackend

KEY = bytes(range(32))
INTEGERS = {TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.UINT32}
SHAPES = {TensorProto.INT64}  # of tensors, not on the way of the bytes


def inputs_by_the_page(network: KeystreamNetwork, counter: int, first: int, blocks: int):
    """What a program in another language feeds to the file, by docs/KEYSTREAM.md."""
    count = sum(layer.lanes_out for layer in network.layers)
    drawn = hashlib.shake_256(b"veilscope/keystream/1/bias" + network.digest + KEY)
    material = hashlib.shake_256(
        b"veilscope/keystream/1/frame" + network.digest + KEY + struct.pack(">Q", counter)
    )
    counters = [list(struct.pack(">Q", first + i)) for i in range(blocks)]
    return {
        "material": np.array(list(material.digest(network.lanes - 8)), dtype=np.uint8),
        "block_counters": np.array(counters, dtype=np.uint8),
        "key_biases": np.array(struct.unpack(f">{count}H", drawn.digest(2 * count)), np.int32),
    }


@pytest.mark.parametrize("family", shipped_families())
def test_a_file_that_another_program_opens_gives_the_keystream(tmp_path, family) -> None:
    network = load_network(family)
    path = tmp_path / "network.onnx"
    path.write_bytes(build_model(network).SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {
        "family": family,
        "digest": network.digest.hex(),
    }
    (output,) = session.run(None, inputs_by_the_page(network, 2**33, 2**32 - 2, 5))
    expected = ReferenceBackend(network).keyed(KEY).generate(2**33, output.size, 2**32 - 2)
    assert np.array_equal(output.reshape(-1), expected)


def test_the_standards_own_evaluator_gives_the_keystream(make_network) -> None:
    """So the file says what is meant, whatever onnxruntime makes of it."""
    network = make_network(4, (16, 40, 24, 16), {3: 0})
    evaluator = ReferenceEvaluator(build_model(network))
    (output,) = evaluator.run(None, inputs_by_the_page(network, 3, 254, 4))
    expected = ReferenceBackend(network).keyed(KEY).generate(3, output.size, 254)
    assert np.array_equal(np.asarray(output).reshape(-1), expected)


@pytest.mark.parametrize("family", shipped_families())
def test_nothing_in_a_file_is_a_float(family) -> None:
    model = shape_inference.infer_shapes(build_model(load_network(family)), strict_mode=True)
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    kinds |= {constant.name: constant.data_type for constant in graph.initializer}
    assert {name for node in graph.node for name in (*node.input, *node.output)} <= set(kinds)
    assert set(kinds.values()) == INTEGERS | SHAPES
    blocks = {name for name, kind in kinds.items() if kind not in SHAPES}
    assert {node.op_type for node in graph.node if set(node.output) <= blocks} == {
        *("Add", "BitShift", "BitwiseXor", "Cast", "Concat", "MatMulInteger"),
        *("Split", "Tile", "Unsqueeze"),
    }


def test_a_file_is_for_old_runtimes_and_holds_no_key(make_network) -> None:
    model = build_model(make_network(1))
    assert model.ir_version == 8
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert [value.name for value in model.graph.input] == [
        *("material", "block_counters", "key_biases")
    ]
    onnx.checker.check_model(model, full_check=True)


def test_the_same_network_gives_the_same_file(make_network) -> None:
    first, second = (build_model(make_network(1)).SerializeToString() for _ in range(2))
    assert first == second


def test_extreme_sums_are_exact() -> None:
    """What saturates where pairs of u8 x s8 products are added in too few bits."""
    rng = np.random.default_rng(6)
    weights = [rng.choice(np.array([-64, -63, -63], dtype=np.int8), (512, 512)) for _ in range(2)]
    bias = np.full(512, -32768, dtype=np.int32)
    network = KeystreamNetwork("random", (Layer(weights[0], bias), Layer(weights[1], bias, 0)))
    output = OnnxBackend(network).keyed(KEY).generate(3, 20_000)
    assert np.array_equal(output, ReferenceBackend(network).keyed(KEY).generate(3, 20_000))


@pytest.mark.parametrize("extra", [-1, 0, 1, 128])
def test_chunks_join_without_a_seam(make_network, monkeypatch, extra) -> None:
    monkeypatch.setattr(onnx_backend, "_CHUNK_BLOCKS", 8)
    network = make_network(2)
    nbytes = 3 * 8 * 128 + extra
    output = OnnxBackend(network).keyed(KEY).generate(1, nbytes, 77)
    assert np.array_equal(output, ReferenceBackend(network).keyed(KEY).generate(1, nbytes, 77))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(make_network, monkeypatch, package) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "shared.keystream.onnx_graph")
    with pytest.raises(DeviceUnavailable, match=r"onnx and onnxruntime.*not installed"):
        OnnxBackend(make_network(1))


def test_it_computes_with_one_thread(make_network) -> None:
    options = OnnxBackend(make_network(1)).session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)

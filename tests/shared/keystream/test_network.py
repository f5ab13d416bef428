from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file

from shared.errors import BadInput
from shared.keystream import network as network_module
from shared.keystream.families import find_family
from shared.keystream.layers import Layer
from shared.keystream.network import (
    FORMAT,
    KeystreamNetwork,
    build_network,
    load_network,
    save_network,
    shipped_families,
)
from shared.keystream.selftest import known_answer

METADATA = {"format": FORMAT, "family": "bp", "lanes": "128", "layers": "2"}


def tensors_of(seed: int, depth: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tensors = {}
    for i in range(1, depth + 1):
        tensors[f"layer{i}.weight"] = rng.integers(-64, 64, (128, 128), dtype=np.int8)
        tensors[f"layer{i}.bias"] = rng.integers(-32768, 32768, 128, dtype=np.int32)
    return tensors


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    answer = known_answer(build_network("bp", tensors_of(1)))
    save_network(path, "bp", tensors_of(1), known_answer=answer)
    return path


def test_a_saved_network_loads_as_itself(saved) -> None:
    loaded, built = load_network(str(saved)), build_network("bp", tensors_of(1))
    assert loaded.digest == built.digest
    assert loaded.known_answer == known_answer(built)
    for mine, theirs in zip(loaded.layers, built.layers, strict=True):
        assert np.array_equal(mine.weight, theirs.weight)
        assert np.array_equal(mine.bias, theirs.bias)
        assert mine.add_from == theirs.add_from


def test_the_digest_does_not_depend_on_the_layout_of_the_file(saved, tmp_path) -> None:
    other = tmp_path / "other.safetensors"
    tensors = dict(reversed(load_file(saved).items()))
    extra = {**METADATA, "known_answer": "00" * 32, "note": "the same weights"}
    save_file(tensors, other, metadata=extra)
    assert other.read_bytes() != saved.read_bytes()
    assert load_network(str(other)).digest == load_network(str(saved)).digest


@pytest.mark.parametrize("part", ["layer1.weight", "layer2.weight", "layer1.bias", "layer2.bias"])
def test_the_digest_depends_on_every_tensor(part) -> None:
    tensors = tensors_of(1)
    before = build_network("bp", {n: t.copy() for n, t in tensors.items()}).digest
    tensors[part].flat[77] ^= 2
    assert build_network("bp", tensors).digest != before


def test_the_digest_depends_on_family_and_topology(make_network) -> None:
    layers = make_network(1, (64, 64, 64, 64)).layers
    summed = (layers[0], Layer(layers[1].weight, layers[1].bias, 1), layers[2])
    digests = {
        KeystreamNetwork("a", layers).digest,
        KeystreamNetwork("b", layers).digest,
        KeystreamNetwork("a", summed).digest,
    }
    assert len(digests) == 3


def test_a_network_can_not_be_changed_after_its_digest_was_taken(make_network) -> None:
    with pytest.raises(ValueError, match="read-only"):
        make_network(1).layers[0].weight[0, 0] = 1


def test_every_shipped_network_loads_and_its_card_names_its_digest() -> None:
    assert "bp" in shipped_families()
    folder = Path(network_module.__file__).parent / "networks"
    for family in shipped_families():
        network = load_network(family)
        assert network.family == family
        assert network.known_answer == known_answer(network)
        assert network.digest.hex() in (folder / f"{family}.md").read_text()


def test_any_cut_or_altered_header_is_refused_as_bad_input(saved) -> None:
    whole = saved.read_bytes()
    (header,) = struct.unpack("<Q", whole[:8])
    damaged = [whole[:n] for n in (0, 7, 8, 50, 8 + header, len(whole) // 2, len(whole) - 1)]
    damaged += [whole + b"\0", b"\xff" * 8 + whole[8:], b"not a network at all" * 20]
    for bytes_ in damaged:
        saved.write_bytes(bytes_)
        with pytest.raises(BadInput):
            load_network(str(saved))


def rewrite(path: Path, tensors=None, **metadata: str | None) -> None:
    said = {**METADATA, "known_answer": "00" * 32, **metadata}
    kept = {k: v for k, v in said.items() if v is not None}
    path.write_bytes(save(tensors if tensors is not None else tensors_of(1), metadata=kept))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", None),
        ("format", "veilscope-keystream/2"),
        ("family", None),
        ("family", "resnet152"),
        ("lanes", "64"),
        ("layers", "3"),
        ("known_answer", "xyz"),
        ("known_answer", "00"),
        ("known_answer", None),
    ],
)
def test_wrong_metadata_is_refused(saved, name, value) -> None:
    rewrite(saved)
    load_network(str(saved))
    rewrite(saved, **{name: value})
    with pytest.raises(BadInput):
        load_network(str(saved))


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "BOOL", "U64"])
def test_dtypes_that_numpy_may_not_have_are_refused_like_any_other(saved, dtype) -> None:
    width = {"BF16": 2, "U64": 8}.get(dtype, 1)
    tensor = {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * width]}
    metadata = {**METADATA, "known_answer": "00" * 32}
    header = json.dumps({"__metadata__": metadata, "layer1.weight": tensor}).encode()
    saved.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2 * width))
    with pytest.raises(BadInput):
        load_network(str(saved))


def changed(part: str, change) -> dict[str, np.ndarray]:
    tensors = tensors_of(1)
    tensors[part] = change(tensors[part])
    return tensors


def with_entry(value: int):
    def change(tensor):
        tensor.flat[0] = value
        return tensor

    return change


def with_row_repeated(tensor):
    tensor[1] = tensor[0]
    return tensor


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("layer1.weight", lambda t: t.astype(np.int16)),
        ("layer1.weight", lambda t: t.astype(np.float32)),
        ("layer1.weight", lambda t: t[:, :120].copy()),
        ("layer1.weight", lambda t: t.reshape(-1)),
        ("layer1.weight", with_entry(64)),
        ("layer1.weight", with_entry(-65)),
        ("layer1.weight", lambda t: t * 0),
        ("layer1.weight", with_row_repeated),
        ("layer2.weight", lambda t: with_row_repeated(t.T).T.copy()),
        ("layer2.weight", lambda t: (t | 1).astype(np.int8)),
        ("layer1.bias", lambda t: t.astype(np.int64)),
        ("layer1.bias", lambda t: t[:100].copy()),
        ("layer1.bias", with_entry(32768)),
        ("layer1.bias", with_entry(-32769)),
    ],
)
def test_tensors_out_of_shape_or_range_or_degenerate_are_refused(saved, part, change) -> None:
    rewrite(saved, changed(part, change))
    with pytest.raises(BadInput):
        load_network(str(saved))


@pytest.mark.parametrize("missing", ["layer1.bias", "layer2.weight"])
def test_missing_and_surplus_tensors_are_refused(saved, missing) -> None:
    tensors = tensors_of(1)
    del tensors[missing]
    rewrite(saved, tensors)
    with pytest.raises(BadInput):
        load_network(str(saved))
    rewrite(saved, {**tensors_of(1), "extra": np.zeros(3, dtype=np.int8)})
    with pytest.raises(BadInput):
        load_network(str(saved))


def test_a_file_too_large_is_not_even_read(saved, monkeypatch) -> None:
    monkeypatch.setattr(network_module, "MAX_FILE_BYTES", 1000)
    with pytest.raises(BadInput, match="too large"):
        load_network(str(saved))


def test_an_unknown_network_or_family_is_bad_input() -> None:
    with pytest.raises(BadInput, match="no keystream network") as caught:
        load_network("no-such-network")
    assert "bp" in caught.value.hint
    with pytest.raises(BadInput, match="no keystream family"):
        find_family("perceptron")


@pytest.mark.parametrize(
    ("widths", "adds"),
    [
        ((128, 128), {1: None}),  # the last layer must add the input
        ((128, 128, 128), {1: 1}),  # a sum of what does not exist yet
        ((128, 64, 128), {1: 0}),  # a sum of unequal widths
        ((128, 100, 128), {}),  # not a multiple of 8
        ((8, 8), {}),  # no room for the counter
        ((128, 520, 128), {}),  # beyond exactness in fp32
    ],
)
def test_layers_that_do_not_fit_together_are_refused(make_network, widths, adds) -> None:
    with pytest.raises(BadInput):
        make_network(1, widths, adds)


def test_layers_must_read_what_the_one_before_gives(make_network) -> None:
    first, second = make_network(1, (64, 64)).layers[0], make_network(1, (128, 128)).layers[0]
    with pytest.raises(BadInput, match="reads"):
        KeystreamNetwork("x", (first, second))
    with pytest.raises(BadInput, match="at least one"):
        KeystreamNetwork("x", ())

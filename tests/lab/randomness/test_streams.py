from __future__ import annotations

import hashlib
import os
import threading

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from lab.randomness import controls as controls_module
from lab.randomness import streams
from lab.randomness.controls import CONTROLS
from lab.randomness.dump import dump
from lab.randomness.streams import MODES, NetworkStream, read
from shared.errors import BadInput
from shared.keystream.backend import open_backend
from shared.keystream.network import load_network

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def backend():
    return open_backend(load_network("bp"), "cpu")


def first_blocks(backend, mode: str, index: int, count: int) -> np.ndarray:
    stream = NetworkStream(backend, KEY, mode)
    return stream.segment(index)[: count * 128].reshape(count, 128)


def one_block(backend, key: bytes, counter: int, block: int) -> list[int]:
    return backend.keyed(key).generate(counter, 128, block).tolist()


def test_stream_is_one_frame_across_the_seams_of_segments(backend) -> None:
    stream = NetworkStream(backend, KEY, "stream")
    start = stream.segment_bytes - 1_000
    whole = backend.keyed(KEY).generate(0, start + 2_000)
    assert read(stream, start, 2_000).tobytes() == whole[start:].tobytes()
    assert read(stream, 5, 7).tobytes() == whole[5:12].tobytes()


def test_frames_lie_side_by_side_block_by_block(backend) -> None:
    blocks = first_blocks(backend, "frames", 2, 66)
    for place, (frame, block) in {0: (128, 0), 1: (129, 0), 63: (191, 0), 65: (129, 1)}.items():
        assert blocks[place].tolist() == one_block(backend, KEY, frame, block)


def test_keys_are_numbered_hashes_of_the_key(backend) -> None:
    blocks = first_blocks(backend, "keys", 1, 66)
    for place, (number, block) in {0: (64, 0), 63: (127, 0), 65: (65, 1)}.items():
        label = b"veilscope/keystream/dump/key"
        key = hashlib.sha256(label + KEY + number.to_bytes(8, "big")).digest()
        assert blocks[place].tolist() == one_block(backend, key, 0, block)


def test_low_weight_runs_differ_from_the_middle_one_in_one_input_bit(backend) -> None:
    label = b"veilscope/keystream/dump/frame" + KEY + (5).to_bytes(8, "big")
    frame = int.from_bytes(hashlib.sha256(label).digest()[:8], "big")
    blocks = first_blocks(backend, "lowweight", 5, 375)
    assert blocks[0].tolist() == one_block(backend, KEY, frame, 1 << 11)
    assert blocks[52].tolist() == one_block(backend, KEY, frame, 1 << 63)
    assert blocks[53].tolist() == one_block(backend, KEY, frame ^ 1, 0)
    assert blocks[116].tolist() == one_block(backend, KEY, frame ^ 1 << 63, 0)
    assert blocks[117].tolist() == one_block(backend, KEY, frame, 0)
    assert blocks[118].tolist() == one_block(backend, KEY[:-1] + bytes([KEY[-1] ^ 1]), frame, 0)
    assert blocks[373].tolist() == one_block(backend, bytes([KEY[0] ^ 128]) + KEY[1:], frame, 0)
    assert blocks[374].tolist() == one_block(backend, KEY, frame, (1 << 11) + 1)


@pytest.mark.parametrize("mode", MODES)
def test_a_segment_may_be_written_over_an_earlier_one(backend, mode) -> None:
    stream = NetworkStream(backend, KEY, mode)
    spare = stream.segment(0)
    assert np.array_equal(stream.segment(1, spare), stream.segment(1))


def test_no_mode_repeats_a_block_within_a_segment(backend) -> None:
    for mode in MODES:
        stream = NetworkStream(backend, KEY, mode)
        blocks = stream.segment(0).view("V16")[::8]
        assert len(np.unique(blocks)) == len(blocks), mode


@pytest.mark.parametrize("mode", MODES)
def test_no_two_segments_of_a_mode_have_a_run_in_common(mode) -> None:
    plan, run_blocks = streams._PLANS[mode]
    runs = [run for index in range(200) for run in plan(KEY, index)]
    starts = {(key, counter, first // run_blocks) for key, counter, first in runs}
    assert len(starts) == len(runs)


def test_an_unknown_mode_is_refused(backend) -> None:
    with pytest.raises(BadInput, match="no mode"):
        NetworkStream(backend, KEY, "sideways")


# -- controls ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_are_reproducible_and_their_segments_differ(name) -> None:
    stream = CONTROLS[name].open()
    first, second = stream.segment(0), stream.segment(1)
    assert first.dtype == np.uint8 and first.shape == (stream.segment_bytes,)
    assert first.tobytes() == CONTROLS[name].open().segment(0).tobytes()
    assert first.tobytes() != second.tobytes()


def test_the_aes_control_is_one_stream_in_counter_mode() -> None:
    stream = CONTROLS["aes"].open()
    encryptor = Cipher(algorithms.AES(controls_module._KEY), modes.CTR(bytes(16))).encryptor()
    whole = encryptor.update(bytes(stream.segment_bytes + 100))
    assert read(stream, 0, len(whole)).tobytes() == whole


def test_the_affine_control_is_affine_in_the_block_counter() -> None:
    blocks = CONTROLS["affine"].open().segment(0)[: 256 * 128].reshape(256, 128)
    assert (np.diff(blocks, axis=0) == blocks[1] - blocks[0]).all()


def test_the_mersenne_twister_control_packs_the_lowest_bit_of_each_output() -> None:
    seed = np.random.SeedSequence([800_022, 3])
    outputs = np.random.Generator(np.random.MT19937(seed)).integers(
        1 << 32, size=800, dtype=np.uint32
    )
    bits = np.unpackbits(CONTROLS["mt19937"].open().segment(3)[:100])
    assert bits.tolist() == (outputs & 1).tolist()


def test_the_randu_control_is_randu_across_segments() -> None:
    stream = CONTROLS["randu"].open()
    values, expected = 1 << 18, 1
    bits = np.unpackbits(stream.segment(0)[:310]).reshape(-1, 31)
    for row in bits:
        assert int("".join(map(str, row)), 2) == expected
        expected = expected * 65_539 % 2**31
    first = np.unpackbits(stream.segment(1)[:4])[:31]
    assert int("".join(map(str, first)), 2) == pow(65_539, values, 2**31)


# -- dump ----------------------------------------------------------------------------------------


class Counting:
    segment_bytes = 1_000

    def __init__(self) -> None:
        self.arrays = 0

    def segment(self, index: int, spare: np.ndarray | None = None) -> np.ndarray:
        if index == 7:
            raise BadInput("the seventh can't be made")
        if spare is None:
            spare = np.empty(1_000, np.uint8)
            self.arrays += 1
        spare[:] = index
        return spare


def drain(descriptor: int, into: bytearray) -> None:
    while part := os.read(descriptor, 65_536):
        into += part


def dumped(nbytes: int, stream: Counting | None = None) -> bytes:
    reader, writer = os.pipe()
    into = bytearray()
    thread = threading.Thread(target=drain, args=(reader, into))
    thread.start()
    try:
        assert dump(stream or Counting(), writer, nbytes) == nbytes
    finally:
        os.close(writer)
        thread.join(timeout=30)
        os.close(reader)
    return bytes(into)


@pytest.mark.parametrize("nbytes", [1, 999, 1_000, 1_001, 6_500])
def test_a_dump_has_exactly_the_bytes_asked_for_in_their_order(nbytes) -> None:
    whole = b"".join(bytes([i]) * 1_000 for i in range(7))
    assert dumped(nbytes) == whole[:nbytes]


def test_a_dump_hands_segments_back_to_be_written_over() -> None:
    stream = Counting()
    dumped(7_000, stream)
    assert stream.arrays == 2


def test_a_closed_pipe_ends_an_endless_dump_quietly(backend) -> None:
    reader, writer = os.pipe()
    thread = threading.Thread(target=lambda: (os.read(reader, 1_000), os.close(reader)))
    thread.start()
    dump(NetworkStream(backend, KEY), writer, 0)
    thread.join(timeout=30)
    os.close(writer)
    assert not any(t.name.startswith("keystream-dump") for t in threading.enumerate())


def test_what_the_maker_fails_on_is_raised() -> None:
    with pytest.raises(BadInput, match="seventh"):
        dumped(0)

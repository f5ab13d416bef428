from __future__ import annotations

import re
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.keystream.cpu_kernels import LLVM_MODULE, TURN, compiled_kernels

seeds = st.integers(0, 2**32 - 1)
lanes = st.sampled_from([8, 24, 64, 128, 200])
blocks = st.integers(1, 70)


def _fold(sums: np.ndarray) -> np.ndarray:
    return ((sums ^ (sums >> 7)) & 255).astype(np.uint8)


def _int16(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-(2**15), 2**15, shape).astype(np.int16)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, lanes=lanes, blocks=blocks)
def test_a_fold_is_that_of_the_definition_for_sums_of_any_size(seed, lanes, blocks) -> None:
    rng = np.random.default_rng(seed)
    products = rng.integers(-(2**31), 2**31, (blocks, lanes)).astype(np.int32)
    bias = _int16(rng, lanes)
    out = np.empty((blocks, lanes), np.int8)
    kernels = compiled_kernels()
    kernels.fold(torch.from_numpy(products), torch.from_numpy(bias), torch.from_numpy(out))
    expected = _fold(products.astype(np.int64) + bias)
    assert np.array_equal(out.view(np.uint8), expected)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, lanes=lanes, blocks=st.integers(1, 600), first=st.integers(0, 2 * TURN))
def test_a_first_layer_adds_each_blocks_table_entry_to_its_turns_sum(
    seed, lanes, blocks, first
) -> None:
    rng = np.random.default_rng(seed)
    numbers = first + np.arange(blocks)
    sums, table = _int16(rng, numbers[-1] // TURN + 1, lanes), _int16(rng, TURN, lanes)
    out = np.empty((blocks, lanes), np.int8)
    compiled_kernels().fold_first(
        torch.from_numpy(sums), torch.from_numpy(table), first, torch.from_numpy(out)
    )
    expected = _fold(sums[numbers // TURN].astype(np.int64) + table[numbers % TURN])
    assert np.array_equal(out.view(np.uint8), expected)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, lanes=lanes, blocks=st.integers(1, 600), first=st.integers(0, 2 * TURN))
def test_a_blocks_input_is_its_turns_with_its_own_last_byte(seed, lanes, blocks, first) -> None:
    rng = np.random.default_rng(seed)
    numbers = first + np.arange(blocks)
    heads = rng.integers(-128, 128, (numbers[-1] // TURN + 1, lanes)).astype(np.int8)
    before = rng.integers(-128, 128, (blocks, lanes)).astype(np.int8)
    out = before.copy()
    compiled_kernels().add_input(torch.from_numpy(heads), first, torch.from_numpy(out))
    expected = before.astype(np.int64) + heads[numbers // TURN]
    expected[:, -1] += numbers % TURN
    assert np.array_equal(out, expected.astype(np.int8))


@pytest.mark.parametrize(("blocks", "lanes"), [(1, 8), (3, 24), (5, 128)])
def test_nothing_is_written_beside_the_rows_asked_for(blocks, lanes) -> None:
    whole = torch.full((blocks + 2, lanes), 77, dtype=torch.int8)
    out = whole[1:-1]
    zeros = torch.zeros(blocks, lanes, dtype=torch.int32)
    kernels = compiled_kernels()
    kernels.fold(zeros, torch.zeros(lanes, dtype=torch.int16), out)
    table = torch.zeros(TURN, lanes, dtype=torch.int16)
    kernels.fold_first(torch.zeros(1, lanes, dtype=torch.int16), table, 0, out)
    kernels.add_input(torch.zeros(1, lanes, dtype=torch.int8), 0, out)
    assert (whole[0] == 77).all()
    assert (whole[-1] == 77).all()
    assert (out[:, :-1] == 0).all()


def test_threads_share_the_compiled_code() -> None:
    products = torch.arange(64 * 512, dtype=torch.int32).view(512, 64)
    bias = torch.arange(64, dtype=torch.int16)
    outs = [torch.empty(512, 64, dtype=torch.int8) for _ in range(4)]

    def work(out: torch.Tensor) -> None:
        for _ in range(50):
            compiled_kernels().fold(products, bias, out)

    threads = [threading.Thread(target=work, args=(out,)) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = _fold(products.numpy().astype(np.int64) + bias.numpy())
    assert all(np.array_equal(out.numpy().view(np.uint8), expected) for out in outs)


def test_there_is_no_float_in_the_compiled_code() -> None:
    words = set(re.findall(r"[a-z]\w*", LLVM_MODULE))
    assert {"i8", "i16", "i32", "xor", "lshr"} <= words
    assert not words & {"half", "bfloat", "float", "double", "fp128"}
    assert not any(word.startswith(("fadd", "fmul", "sitofp", "uitofp")) for word in words)

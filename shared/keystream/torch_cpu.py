"""The keystream on a processor, through PyTorch's exact int8 matrix product.

`torch._int_mm` multiplies signed bytes, so activations are held as x - 128, and what that takes
from each sum is put into its bias; only the low 15 bits of a sum matter.  The first layer needs no
product at all: within 256 blocks nothing of its input changes but the counter's last byte, so a sum
is one entry of a table plus a number of the lane.  Chunks are small enough to stay in the cache,
what follows a product is one pass of `cpu_kernels`, and the last layer writes where the caller
reads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from shared.keystream.cpu_kernels import TURN, compiled_kernels
from shared.keystream.held_biases import held_biases
from shared.keystream.layers import COUNTER_LANES
from shared.keystream.material import block_counters, check_span, frame_material, key_biases
from shared.keystream.network import KeystreamNetwork

__all__ = ["TorchCpuBackend"]

_CHUNK_BLOCKS = 1024  # at 128 lanes: int32 products of 0.5 MiB, which stay in an L2 cache


class TorchCpuBackend:
    """With one thread: live programs run on small machines beside codecs.

    torch's thread count is set to one for the calling thread during each call and put back.
    """

    name = "torch-cpu"
    chunk_blocks = _CHUNK_BLOCKS

    def __init__(self, network: KeystreamNetwork) -> None:
        self.network = network
        last_lane = network.layers[0].weight[:, -1].astype(np.int64)
        self.table = _as_int16(np.arange(TURN)[:, np.newaxis] * last_lane)
        self.weights = tuple(
            torch.from_numpy(np.ascontiguousarray(layer.weight.T)) for layer in network.layers
        )
        self.kernels = compiled_kernels()
        self._scratch = threading.local()

    def keyed(self, keystream_key: bytes) -> _TorchCpuGenerator:
        drawn = key_biases(self.network, keystream_key)
        biases = tuple(_as_int16(bias) for bias in held_biases(self.network.layers, drawn))
        return _TorchCpuGenerator(self, keystream_key, biases)

    def scratch(self) -> _Scratch:
        """Return the calling thread's buffers."""
        scratch: _Scratch | None = getattr(self._scratch, "buffers", None)
        if scratch is None:
            scratch = self._scratch.buffers = _Scratch(self.network, self.chunk_blocks)
        return scratch


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    if before != 1:
        torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        if before != 1:
            torch.set_num_threads(before)


class _Step(NamedTuple):
    """Buffers of a layer after the first: what it reads, as x - 128, int8 (blocks, lanes in), and
    its products, int32 (blocks, lanes out)."""

    read: torch.Tensor
    products: torch.Tensor


class _Scratch:
    """The steps' buffers for one chunk, flat, since chunks differ in size."""

    def __init__(self, network: KeystreamNetwork, rows: int) -> None:
        self._widths = [layer.lanes_out for layer in network.layers]
        self._read = [torch.empty(rows * w, dtype=torch.int8) for w in self._widths[:-1]]
        self._products = torch.empty(rows * max(self._widths), dtype=torch.int32)
        self._whole = self._part = self._views(rows)
        self._rows = self._part_rows = rows

    def steps(self, rows: int) -> list[_Step]:
        """Return the buffers of `rows` blocks, from the second layer on."""
        if rows == self._rows:
            return self._whole
        if rows != self._part_rows:  # a call's last chunk is often as long as the last call's
            self._part, self._part_rows = self._views(rows), rows
        return self._part

    def _views(self, rows: int) -> list[_Step]:
        return [
            _Step(
                read[: rows * lanes_in].view(rows, lanes_in),
                self._products[: rows * lanes_out].view(rows, lanes_out),
            )
            for read, (lanes_in, lanes_out) in zip(self._read, pairwise(self._widths), strict=True)
        ]


class _Call(NamedTuple):
    """What the blocks of one call share, a row for each of its turns: of the turn's first block,
    activation 0 as x - 128, int8 (turns, lanes), and layer 1's sums, int16 (turns, lanes out)."""

    heads: torch.Tensor
    sums: torch.Tensor


def _as_int16(values: NDArray[np.int64]) -> torch.Tensor:
    """Return `values` mod 2**16 as the int16 of the same bits."""
    return torch.from_numpy((values & 0xFFFF).astype(np.uint16).view(np.int16))


@dataclass(frozen=True, slots=True, eq=False)
class _TorchCpuGenerator:
    backend: TorchCpuBackend = field(repr=False)
    key: bytes = field(repr=False)
    biases: tuple[torch.Tensor, ...] = field(repr=False)

    @property
    def block_nbytes(self) -> int:
        return self.backend.network.lanes

    def generate(self, counter: int, nbytes: int, first_block: int = 0) -> NDArray[np.uint8]:
        backend, lanes = self.backend, self.block_nbytes
        blocks = check_span(counter, nbytes, first_block, lanes)
        output = np.empty((blocks, lanes), dtype=np.uint8)
        if blocks:
            with _one_thread():
                call = self._prepare(counter, first_block, blocks)
                target, offset = torch.from_numpy(output.view(np.int8)), first_block % TURN
                scratch, chunk = backend.scratch(), backend.chunk_blocks
                for start in range(0, blocks, chunk):
                    piece = target[start : start + chunk]
                    self._run(scratch.steps(len(piece)), call, offset + start, piece)
        return output.reshape(-1)[:nbytes]

    def _prepare(self, counter: int, first_block: int, blocks: int) -> _Call:
        backend, lanes = self.backend, self.block_nbytes
        first_turn = first_block // TURN
        turns = (first_block + blocks - 1) // TURN - first_turn + 1
        heads = np.zeros((turns, lanes), dtype=np.uint8)
        heads[:, :-COUNTER_LANES] = frame_material(backend.network, self.key, counter)
        heads[:, -COUNTER_LANES:-1] = block_counters(first_turn, turns)[:, 1:]
        held = torch.from_numpy((heads ^ 128).view(np.int8))
        sums = torch._int_mm(held, backend.weights[0]).to(torch.int16).add_(self.biases[0])
        return _Call(held, sums)

    def _run(self, steps: list[_Step], call: _Call, first: int, output: torch.Tensor) -> None:
        """Fill `output` (blocks, lanes) from block `first` on, counted from the call's turns."""
        backend, kernels = self.backend, self.backend.kernels
        targets = [*(step.read for step in steps), output]
        for i, (layer, target) in enumerate(zip(backend.network.layers, targets, strict=True)):
            if i == 0:
                kernels.fold_first(call.sums, backend.table, first, target)
            else:
                read, products = steps[i - 1]
                torch._int_mm(read, backend.weights[i], out=products)
                kernels.fold(products, self.biases[i], target)
            if layer.add_from == 0:
                kernels.add_input(call.heads, first, target)
            elif layer.add_from is not None:
                target.add_(targets[layer.add_from - 1])

"""The keystream on a processor, through PyTorch's exact int8 matrix product.

`torch._int_mm` multiplies signed bytes, so activations are held as x - 128, and what that takes
from each sum is put into its bias; only the low 15 bits of a sum matter.  The first layer needs no
product at all: within 256 blocks nothing of its input changes but the counter's last byte, so a sum
is one entry of a table plus a number of the lane.  Chunks are small enough to stay in the cache,
and the last layer writes where the caller reads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from shared.keystream.held_biases import held_biases
from shared.keystream.layers import COUNTER_LANES, FOLD_SHIFT
from shared.keystream.material import block_counters, check_span, frame_material, key_biases
from shared.keystream.network import KeystreamNetwork

__all__ = ["TorchCpuBackend"]

_TURN = 256  # blocks that share all bytes of their counter but the last
_CHUNK_TURNS = 4  # at 128 lanes: int32 products of 0.5 MiB, so that the buffers stay in an L2 cache
_LAST_BYTES = np.arange(_TURN).astype(np.int8)  # of a turn's counters, mod 256


class TorchCpuBackend:
    """With one thread: live programs run on small machines beside codecs.

    torch's thread count is set to one for the calling thread during each call and put back.
    """

    name = "torch-cpu"
    chunk_turns = _CHUNK_TURNS

    def __init__(self, network: KeystreamNetwork) -> None:
        self.network = network
        last_lane = network.layers[0].weight[:, -1].astype(np.int64)
        self.table = _as_int16(np.arange(_TURN)[:, np.newaxis] * last_lane)
        self.weights = tuple(
            torch.from_numpy(np.ascontiguousarray(layer.weight.T)) for layer in network.layers
        )
        self._scratch = threading.local()

    def keyed(self, keystream_key: bytes) -> _TorchCpuGenerator:
        drawn = key_biases(self.network, keystream_key)
        biases = tuple(_as_int16(bias) for bias in held_biases(self.network.layers, drawn))
        return _TorchCpuGenerator(self, keystream_key, biases)

    def scratch(self) -> _Scratch:
        """Return the calling thread's buffers."""
        scratch: _Scratch | None = getattr(self._scratch, "buffers", None)
        if scratch is None:
            scratch = self._scratch.buffers = _Scratch(self.network, self.chunk_turns * _TURN)
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


class _Scratch:
    """Buffers for one chunk, flat, since chunks differ in size.

    A layer's products, their low halves and the fold of these, and, as x - 128, every layer's
    activations but the last's.
    """

    def __init__(self, network: KeystreamNetwork, rows: int) -> None:
        widths = [layer.lanes_out for layer in network.layers]
        self._products = torch.empty(rows * max(widths), dtype=torch.int32)
        self._low = torch.empty(rows * max(widths), dtype=torch.int16)
        self._fold = torch.empty_like(self._low)
        self._widths = widths
        self._activations = [torch.empty(rows * width, dtype=torch.int8) for width in widths[:-1]]
        self._whole = self._part = self._views(rows)
        self._rows = self._part_rows = rows

    def views(self, rows: int) -> list[_Views]:
        """Return, for each layer, the buffers of `rows` blocks."""
        if rows == self._rows:
            return self._whole
        if rows != self._part_rows:  # a call's last chunk is often as long as the last call's
            self._part, self._part_rows = self._views(rows), rows
        return self._part

    def _views(self, rows: int) -> list[_Views]:
        views = []
        for width, activation in zip(self._widths, [*self._activations, None], strict=True):
            size, shape = rows * width, (rows, width)
            low, fold = self._low[:size].view(shape), self._fold[:size].view(shape)
            views.append(
                _Views(
                    self._products[:size].view(shape),
                    low,
                    low.numpy(),
                    fold,
                    fold.numpy(),
                    None if activation is None else activation[:size].view(shape),
                )
            )
        return views


class _Views(NamedTuple):
    """One layer's buffers (blocks, lanes out); the NumPy arrays are the same memory.

    `activation` is None in the last layer, which writes to the caller's array.
    """

    products: torch.Tensor
    low: torch.Tensor
    low_array: NDArray[np.int16]
    fold: torch.Tensor
    fold_array: NDArray[np.int16]
    activation: torch.Tensor | None


class _Piece(NamedTuple):
    """Rows of a chunk that are the same `span` of one or more of the call's turns."""

    rows: slice
    turns: slice
    span: slice


def _pieces(first_block: int, start: int, stop: int) -> Iterator[_Piece]:
    """Cut rows `start` to `stop` of a call into the rest of a turn, whole turns, and a beginning.

    The chunk's rows are counted from its own first, turns from the call's first.
    """
    offset = first_block % _TURN
    row = start
    while row < stop:
        turn, first = divmod(offset + row, _TURN)
        whole = 0 if first else (stop - row) // _TURN
        count = whole * _TURN or min(_TURN - first, stop - row)
        yield _Piece(
            slice(row - start, row - start + count),
            slice(turn, turn + (whole or 1)),
            slice(0, _TURN) if whole else slice(first, first + count),
        )
        row += count


class _Call(NamedTuple):
    """What the blocks of one call share: of each turn, its first block's activation 0 as x - 128,
    int8 (turns, 1, lanes), and the sums of layer 1 there, int16 (turns, 1, lanes out)."""

    sums: torch.Tensor
    heads: torch.Tensor


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
                target = torch.from_numpy(output.view(np.int8))
                scratch = backend.scratch()
                chunk = backend.chunk_turns * _TURN
                for start in range(0, blocks, chunk):
                    stop = min(start + chunk, blocks)
                    pieces = tuple(_pieces(first_block, start, stop))
                    self._run(scratch.views(stop - start), call, pieces, target[start:stop])
        return output.reshape(-1)[:nbytes]

    def _prepare(self, counter: int, first_block: int, blocks: int) -> _Call:
        backend, lanes = self.backend, self.block_nbytes
        first_turn = first_block // _TURN
        turns = (first_block + blocks - 1) // _TURN - first_turn + 1
        heads = np.zeros((turns, lanes), dtype=np.uint8)
        heads[:, :-COUNTER_LANES] = frame_material(backend.network, self.key, counter)
        heads[:, -COUNTER_LANES:-1] = block_counters(first_turn, turns)[:, 1:]
        signed = torch.from_numpy((heads ^ 128).view(np.int8))
        sums = torch._int_mm(signed, backend.weights[0]).to(torch.int16).add_(self.biases[0])
        return _Call(sums.unsqueeze(1), signed.unsqueeze(1))

    def _run(
        self, views: list[_Views], call: _Call, pieces: tuple[_Piece, ...], output: torch.Tensor
    ) -> None:
        backend = self.backend
        activations: list[torch.Tensor] = []
        for i, (layer, buffers) in enumerate(zip(backend.network.layers, views, strict=True)):
            low = buffers.low
            if i == 0:
                for piece in pieces:
                    sums = call.sums[piece.turns]
                    by_turn = low[piece.rows].view(len(sums), -1, layer.lanes_out)
                    torch.add(backend.table[piece.span], sums, out=by_turn)
            else:
                torch._int_mm(activations[-1], backend.weights[i], out=buffers.products)
                low.copy_(buffers.products).add_(self.biases[i])
            # NumPy shifts twice as fast as torch.
            np.right_shift(buffers.low_array, FOLD_SHIFT, out=buffers.fold_array)
            target = output if buffers.activation is None else buffers.activation
            target.copy_(buffers.fold.bitwise_xor_(low))
            if layer.add_from == 0:
                _add_inputs(call, pieces, target)
            elif layer.add_from is not None:
                target.add_(activations[layer.add_from - 1])
            activations.append(target)


def _add_inputs(call: _Call, pieces: tuple[_Piece, ...], target: torch.Tensor) -> None:
    for piece in pieces:
        heads = call.heads[piece.turns]
        by_turn = target[piece.rows].view(len(heads), -1, target.shape[1])
        by_turn.add_(heads)
        last = by_turn.numpy()[:, :, -1]
        np.add(last, _LAST_BYTES[piece.span], out=last)  # strided: NumPy is faster here as well

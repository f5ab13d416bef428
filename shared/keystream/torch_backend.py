"""The keystream through torch's int8 matrix product, on the CPU and on CUDA.

The same bytes as `reference`, by exact integer arithmetic only.  What makes it fast:

- Chunks of blocks that stay in the cache, in buffers that each thread keeps.
- Of a block's input only the counter lanes vary within a frame, so the first layer multiplies
  those alone; the rest of its sum is computed once a frame.
- `torch._int_mm` takes signed bytes, so every activation x is held as x - 128 (the same bits
  with the top one flipped) and 128 times the row's weights goes into the bias.  To make a fold
  come out as x - 128 rather than x costs nothing: 0x8000 more in the bias flips its top bit.
- Only 16 bits of an accumulator are ever used, so all that follows the product is int16.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import DeviceUnavailable
from shared.keystream.layers import COUNTER_LANES
from shared.keystream.material import block_counters, check_span, frame_material, key_biases
from shared.keystream.network import KeystreamNetwork

__all__ = ["TorchCpuBackend", "TorchCudaBackend"]

_CPU_CHUNK_BLOCKS = 4_096  # 0.5 MiB of output; the int32 products (2 MiB) still fit an L2/L3 share
_CUDA_CHUNK_BLOCKS = 16_384  # 2 MiB of output; enough rows to fill a GPU
_CUDA_MIN_ROWS = 17  # torch._int_mm on CUDA refuses fewer rows
_CUDA_TAIL_LANES = 32  # int8 tensor cores take the inner dimension in 32s
_FLIP = 0x8000  # in an accumulator: flips the top bit of its fold


class TorchCpuBackend:
    """On the CPU, with one thread: live programs run on small machines beside codecs.

    torch's thread count is set to one for the calling thread during each call and put back.
    """

    chunk_blocks = _CPU_CHUNK_BLOCKS
    min_rows = 1
    tail_lanes = COUNTER_LANES

    def __init__(self, network: KeystreamNetwork) -> None:
        self.network = network
        self.device = torch.device("cpu")
        self._place()

    def _place(self) -> None:
        self.weights = tuple(self._weight(i) for i in range(len(self.network.layers)))
        self._scratch = threading.local()

    @property
    def name(self) -> str:
        return f"torch-{self.device.type}"

    def _weight(self, index: int) -> torch.Tensor:
        weight = self.network.layers[index].weight
        if index == 0:
            weight = weight[:, -self.tail_lanes :]
        return torch.from_numpy(np.ascontiguousarray(weight.T)).to(self.device)

    def keyed(self, keystream_key: bytes) -> _TorchGenerator:
        return _TorchGenerator(self, keystream_key, key_biases(self.network, keystream_key))

    def scratch(self) -> _Scratch:
        """Return the calling thread's buffers."""
        scratch: _Scratch | None = getattr(self._scratch, "buffers", None)
        if scratch is None:
            scratch = _Scratch(self.network, self.chunk_blocks, self.device)
            self._scratch.buffers = scratch
        return scratch

    @contextmanager
    def computing(self) -> Iterator[None]:
        before = torch.get_num_threads()
        if before != 1:
            torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                yield
        finally:
            if before != 1:
                torch.set_num_threads(before)


class TorchCudaBackend(TorchCpuBackend):
    """On the current CUDA device; raises `DeviceUnavailable` where there is none."""

    chunk_blocks = _CUDA_CHUNK_BLOCKS
    min_rows = _CUDA_MIN_ROWS

    def __init__(self, network: KeystreamNetwork) -> None:
        if not torch.cuda.is_available():
            raise DeviceUnavailable(
                "no CUDA device is available to PyTorch", hint="use --device auto or --device cpu"
            )
        self.network = network
        self.tail_lanes = min(_CUDA_TAIL_LANES, network.lanes)
        self.device = torch.device("cuda", torch.cuda.current_device())
        self._place()

    @contextmanager
    def computing(self) -> Iterator[None]:
        with torch.inference_mode(), torch.cuda.device(self.device):
            yield


class _Scratch:
    """Buffers for one chunk: the products, their fold, and the activations as x - 128."""

    def __init__(self, network: KeystreamNetwork, rows: int, device: torch.device) -> None:
        widest = max(layer.lanes_out for layer in network.layers)
        self.products = torch.empty(rows * widest, dtype=torch.int32, device=device)
        self.low = torch.empty(rows * widest, dtype=torch.int16, device=device)
        self.high = torch.empty_like(self.low)
        widths = [network.lanes, *(layer.lanes_out for layer in network.layers)]
        self.activations = [
            torch.empty((rows, width), dtype=torch.int8, device=device) for width in widths
        ]


def _as_int16(values: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """Return `values` mod 2**16 as the int16 of the same bits."""
    return torch.from_numpy((((values + 32_768) & 65_535) - 32_768).astype(np.int16)).to(device)


@dataclass(frozen=True, slots=True, eq=False)
class _TorchGenerator:
    backend: TorchCpuBackend = field(repr=False)
    key: bytes = field(repr=False)
    key_biases: tuple[NDArray[np.int64], ...] = field(repr=False)
    folded: tuple[NDArray[np.int64], ...] = field(init=False, repr=False)
    hidden: tuple[torch.Tensor, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        layers = self.backend.network.layers
        folded = []
        for number, (layer, key_bias) in enumerate(zip(layers, self.key_biases, strict=True), 1):
            weight = layer.weight.astype(np.int64)
            if number == 1:
                weight = weight[:, -self.backend.tail_lanes :]
            bias = layer.bias + key_bias + 128 * weight.sum(axis=1)
            # An activation that is added brings -128 along; the last output must carry none.
            offsets_wanted = (number < len(layers)) - (layer.add_from is not None)
            folded.append(bias + _FLIP * (offsets_wanted & 1))
        object.__setattr__(self, "folded", tuple(folded))
        object.__setattr__(
            self, "hidden", tuple(_as_int16(b, self.backend.device) for b in folded[1:])
        )

    @property
    def block_nbytes(self) -> int:
        return self.backend.network.lanes

    def generate(self, counter: int, nbytes: int, first_block: int = 0) -> NDArray[np.uint8]:
        backend, lanes = self.backend, self.block_nbytes
        blocks = check_span(counter, nbytes, first_block, lanes)
        output = np.empty((blocks, lanes), dtype=np.uint8)
        if not blocks:
            return output.reshape(-1)
        material = frame_material(backend.network, self.key, counter)
        with backend.computing():
            scratch = backend.scratch()
            rows = max(min(blocks, backend.chunk_blocks), backend.min_rows)
            signed = torch.from_numpy((material ^ 128).view(np.int8)).to(backend.device)
            scratch.activations[0][:rows, :-COUNTER_LANES] = signed
            biases = (self._first_bias(material), *self.hidden)
            for start in range(0, blocks, backend.chunk_blocks):
                count = min(backend.chunk_blocks, blocks - start)
                counters = (block_counters(first_block + start, count) ^ 128).view(np.int8)
                tail = scratch.activations[0][:count, -COUNTER_LANES:]
                tail.copy_(torch.from_numpy(counters))
                # Rows that only pad the chunk compute on old counters and are not copied out.
                block = self._run(scratch, biases, max(count, backend.min_rows))
                torch.from_numpy(output[start : start + count]).view(torch.int8).copy_(
                    block[:count]
                )
        return output.reshape(-1)[:nbytes]

    def _first_bias(self, material: NDArray[np.uint8]) -> torch.Tensor:
        """Return the first layer's bias with what its constant lanes add within a frame."""
        lanes = self.block_nbytes
        constant = lanes - self.backend.tail_lanes
        weight = self.backend.network.layers[0].weight[:, :constant].astype(np.int64)
        total = self.folded[0] + weight @ material[:constant].astype(np.int64)
        return _as_int16(total, self.backend.device)

    def _run(self, scratch: _Scratch, biases: tuple[torch.Tensor, ...], rows: int) -> torch.Tensor:
        activations = [activation[:rows] for activation in scratch.activations]
        source = activations[0][:, -self.backend.tail_lanes :]
        for i, (layer, weight) in enumerate(
            zip(self.backend.network.layers, self.backend.weights, strict=True)
        ):
            size, shape = rows * layer.lanes_out, (rows, layer.lanes_out)
            products = scratch.products[:size].view(shape)
            low, high = scratch.low[:size].view(shape), scratch.high[:size].view(shape)
            torch._int_mm(source.contiguous(), weight, out=products)
            low.copy_(products).add_(biases[i])
            torch.bitwise_right_shift(low, 8, out=high)
            target = activations[i + 1]
            target.copy_(high.bitwise_xor_(low))
            if layer.add_from is not None:
                target.add_(activations[layer.add_from])
            source = target
        return source

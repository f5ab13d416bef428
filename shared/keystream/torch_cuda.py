"""The keystream through torch's int8 matrix product on a CUDA device.

For GPUs without Triton; `triton_backend` does the same in one pass.  Exact integers only, in the
manner of `torch_cpu`: activations held as x - 128, since `torch._int_mm` takes signed bytes.
On CUDA it wants more than 16 rows and inner and outer widths in eights: every layer's are, and
rows that only pad are cut off.  While one chunk is copied to the host, the next is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from shared.keystream.cuda_device import (
    OwnStream,
    find_cuda,
    flatten_frame,
    keep_for_stream,
    upload,
)
from shared.keystream.held_biases import held_biases
from shared.keystream.layers import COUNTER_LANES, FOLD_SHIFT
from shared.keystream.material import check_span, frame_material, key_biases
from shared.keystream.network import KeystreamNetwork

__all__ = ["TorchCudaBackend"]

_CHUNK_BLOCKS = 16_384  # 2 MiB of output: fills a GPU, and 8 MiB of int32 sums stay in its L2
_MIN_ROWS = 17  # torch._int_mm on CUDA refuses fewer


class TorchCudaBackend:
    """On the current CUDA device; raises `DeviceUnavailable` where there is none."""

    name = "torch-cuda"

    def __init__(self, network: KeystreamNetwork) -> None:
        self.network = network
        self.device = find_cuda()
        self.stream = OwnStream(self.device)
        self.copying = OwnStream(self.device)
        self.weights = tuple(
            torch.from_numpy(np.ascontiguousarray(layer.weight.T)).to(self.device)
            for layer in network.layers
        )

    def keyed(self, keystream_key: bytes) -> TorchCudaGenerator:
        drawn = key_biases(self.network, keystream_key)
        biases = tuple(
            torch.from_numpy(bias.astype(np.int32)).to(self.device)
            for bias in held_biases(self.network.layers, drawn)
        )
        return TorchCudaGenerator(self, keystream_key, biases)


@dataclass(frozen=True, slots=True, eq=False)
class TorchCudaGenerator:
    """A network under one key, on the device."""

    backend: TorchCudaBackend = field(repr=False)
    key: bytes = field(repr=False)
    biases: tuple[torch.Tensor, ...] = field(repr=False)

    @property
    def block_nbytes(self) -> int:
        return self.backend.network.lanes

    def generate(self, counter: int, nbytes: int, first_block: int = 0) -> NDArray[np.uint8]:
        """As `KeyedGenerator.generate`; the array is pinned memory where the device is CUDA."""
        backend, lanes = self.backend, self.block_nbytes
        blocks = check_span(counter, nbytes, first_block, lanes)
        pinned = backend.device.type == "cuda"
        host = torch.empty((blocks, lanes), dtype=torch.uint8, pin_memory=pinned)
        with torch.inference_mode(), backend.stream.entered() as computing:
            material = self._material(counter)
            for start in range(0, blocks, _CHUNK_BLOCKS):
                count = min(_CHUNK_BLOCKS, blocks - start)
                chunk = self._blocks(material, first_block + start, count)
                with backend.copying.entered() as copying:
                    if copying is not None and computing is not None:
                        copying.wait_stream(computing)
                        chunk.record_stream(copying)  # its memory is not free before the copy
                    host[start : start + count].copy_(chunk, non_blocking=True)
            with backend.copying.entered() as copying:
                if copying is not None:
                    copying.synchronize()
        return host.numpy().reshape(-1)[:nbytes]

    def xor_into(self, data: torch.Tensor, counter: int, first_block: int = 0) -> None:
        """XOR frame `counter`'s keystream onto `data` in place, in its device's current stream.

        `data` contiguous uint8 of any shape, on the backend's device.  Returns before the device
        is done.  `ValueError` as `generate`, and for other tensors.
        """
        flat = flatten_frame(data, self.backend.device)
        lanes = self.block_nbytes
        blocks = check_span(counter, flat.numel(), first_block, lanes)
        keep_for_stream(*self.biases, *self.backend.weights)
        with torch.no_grad():  # not inference mode: the frame is the caller's own tensor
            material = self._material(counter)
            for start in range(0, blocks, _CHUNK_BLOCKS):
                count = min(_CHUNK_BLOCKS, blocks - start)
                part = flat[start * lanes : (start + count) * lanes]
                chunk = self._blocks(material, first_block + start, count)
                part.bitwise_xor_(chunk.view(-1)[: part.numel()])

    def _material(self, counter: int) -> torch.Tensor:
        material = frame_material(self.backend.network, self.key, counter)
        return upload(torch.from_numpy((material ^ 128).view(np.int8)), self.backend.device)

    def _blocks(self, material: torch.Tensor, first_block: int, count: int) -> torch.Tensor:
        """Return `count` blocks, uint8 (count, lanes), on the device."""
        backend = self.backend
        rows = max(count, _MIN_ROWS)
        block_input = torch.empty(
            (rows, self.block_nbytes), dtype=torch.int8, device=backend.device
        )
        block_input[:, :-COUNTER_LANES] = material
        block_input[:, -COUNTER_LANES:] = _counters(first_block, rows, backend.device)
        activations = [block_input]
        for layer, weight, bias in zip(
            backend.network.layers, backend.weights, self.biases, strict=True
        ):
            total = torch._int_mm(activations[-1], weight).add_(bias)
            output = (total >> FOLD_SHIFT).bitwise_xor_(total).to(torch.int8)  # keeps the low byte
            if layer.add_from is not None:
                output.add_(activations[layer.add_from])
            activations.append(output)
        return activations[-1][:count].view(torch.uint8)


def _counters(first_block: int, rows: int, device: torch.device) -> torch.Tensor:
    """Return block counters as big-endian bytes less 128: int8 (rows, 8).

    Counted in int64, whose bits wrap as those of a u64 do.
    """
    signed = first_block - (1 << 64) if first_block >> 63 else first_block
    blocks = torch.arange(rows, dtype=torch.int64, device=device) + signed
    shifts = torch.arange(56, -8, -8, dtype=torch.int64, device=device)
    return ((blocks[:, None] >> shifts) ^ 128).to(torch.int8)

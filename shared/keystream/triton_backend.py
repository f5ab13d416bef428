"""The keystream as one fused Triton kernel on a CUDA device.

This file lays a network and a frame out as `triton_kernel` reads them: widths padded with zeros
to powers of two, activations held as x - 128 since the products take signed bytes, and what a
frame's constant lanes add to the first layer's sums put into its bias, so that only the counter
is multiplied anew for every block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import DeviceUnavailable
from shared.keystream.cuda_device import OwnStream, find_cuda, flatten_frame, upload
from shared.keystream.held_biases import held_biases
from shared.keystream.layers import COUNTER_LANES, FOLD_SHIFT
from shared.keystream.material import check_span, frame_material, key_biases
from shared.keystream.network import KeystreamNetwork

__all__ = ["TritonBackend"]

_MIN_WIDTH = 32  # int8 tensor cores take the inner dimension in 32s
_MAX_WIDTH = 256  # wider sums would not fit the registers
_MAX_WEIGHTS_NBYTES = 96 << 10  # they stay in shared memory, of which small GPUs have 100 KiB
_TILE_ROWS = 64
_PROGRAMS_A_PROCESSOR = 2  # as many as have room for their registers


def find_kernel() -> Any:
    """Return the kernel, or raise `DeviceUnavailable` where Triton is not installed."""
    try:
        from shared.keystream.triton_kernel import xor_keystream
    except ImportError as error:
        raise DeviceUnavailable(
            "the package triton is not installed",
            hint="PyTorch for CUDA on Linux brings it along; or use --device cuda",
        ) from error
    return xor_keystream


class TritonBackend:
    """On the current CUDA device.

    Raises `DeviceUnavailable` where there is none, Triton is missing, or the network is too wide
    for the kernel (a layer of more than 256 lanes, or more than 96 KiB of padded weights).
    """

    name = "triton"

    def __init__(self, network: KeystreamNetwork) -> None:
        self.network = network
        self.device = find_cuda()
        self.kernel = find_kernel()
        self.stream = OwnStream(self.device)
        self.layers, weights = _lay_out(network)
        self.weights = torch.from_numpy(weights).to(self.device)
        self.programs = _PROGRAMS_A_PROCESSOR * _processors(self.device)

    def keyed(self, keystream_key: bytes) -> TritonGenerator:
        drawn = key_biases(self.network, keystream_key)
        first, *hidden = held_biases(self.network.layers, drawn)
        padded = [_padded(bias, 0) for bias in hidden] or [np.zeros(1, dtype=np.int64)]
        on_device = torch.from_numpy(np.concatenate(padded).astype(np.int32)).to(self.device)
        return TritonGenerator(self, keystream_key, first, on_device)


@dataclass(frozen=True, slots=True, eq=False)
class TritonGenerator:
    """A network under one key, on the device."""

    backend: TritonBackend = field(repr=False)
    key: bytes = field(repr=False)
    first_bias: NDArray[np.int64] = field(repr=False)
    hidden_biases: torch.Tensor = field(repr=False)

    @property
    def block_nbytes(self) -> int:
        return self.backend.network.lanes

    def generate(self, counter: int, nbytes: int, first_block: int = 0) -> NDArray[np.uint8]:
        """As `KeyedGenerator.generate`; the array is pinned memory where the device is CUDA.

        Made by XOR onto zeros: the bus to the host takes far longer than they do.
        """
        check_span(counter, nbytes, first_block, self.block_nbytes)
        device = self.backend.device
        host = torch.empty(nbytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
        with self.backend.stream.entered() as stream:
            frame = torch.zeros(nbytes, dtype=torch.uint8, device=device)
            self.xor_into(frame, counter, first_block)
            host.copy_(frame, non_blocking=True)
            if stream is not None:
                stream.synchronize()
        return host.numpy()

    def xor_into(self, data: torch.Tensor, counter: int, first_block: int = 0) -> None:
        """XOR frame `counter`'s keystream onto `data` in place, in its device's current stream.

        `data` contiguous uint8 of any shape, on the backend's device.  Returns before the device
        is done.  `ValueError` as `generate`, and for other tensors.
        """
        flat = flatten_frame(data, self.backend.device)
        nbytes, lanes = flat.numel(), self.block_nbytes
        blocks = check_span(counter, nbytes, first_block, lanes)
        frame = upload(self._frame(counter, first_block), self.backend.device)
        # A length that is a multiple of the lanes lets the kernel move 16 bytes at once, so the
        # last block goes alone where it is not whole.
        whole = nbytes // lanes
        with torch.cuda.device_of(flat):  # type: ignore[no-untyped-call]
            if whole:
                self._launch(flat, frame, 0, whole, whole * lanes)
            if whole < blocks:
                self._launch(flat, frame, whole, 1, nbytes)

    def _launch(
        self, data: torch.Tensor, frame: torch.Tensor, first_row: int, rows: int, nbytes: int
    ) -> None:
        backend = self.backend
        tiles = -(-rows // _TILE_ROWS)
        widest = max(lanes_out for _, lanes_out, *_ in backend.layers)
        launch = backend.kernel[(min(tiles, backend.programs),)]
        launch(
            data,
            frame,
            backend.weights,
            self.hidden_biases,
            first_row,
            rows,
            nbytes,
            layers=backend.layers,
            lanes=self.block_nbytes,
            padded=_padded_width(self.block_nbytes),
            fold_shift=FOLD_SHIFT,
            tile_rows=_TILE_ROWS,
            num_warps=4 if widest <= 128 else 8,  # 64 sums of 32 bits a thread
            enable_fp_fusion=False,  # there are no floats; said, or Triton warns
        )

    def _frame(self, counter: int, first_block: int) -> torch.Tensor:
        """Return what the kernel reads of a frame: int32 (2 + padded lanes + padded lanes out,)."""
        network = self.backend.network
        material = frame_material(network, self.key, counter).astype(np.int64) - 128
        constant = network.layers[0].weight[:, :-COUNTER_LANES].astype(np.int64)
        numbers = np.concatenate(
            [
                np.array([first_block & 0xFFFF_FFFF, first_block >> 32], dtype=np.int64),
                _padded(material, network.lanes),
                _padded(self.first_bias + constant @ material, 0),
            ]
        )
        return torch.from_numpy(numbers.astype(np.uint32).view(np.int32))


def _lay_out(
    network: KeystreamNetwork,
) -> tuple[tuple[tuple[int, int, int, int, int], ...], NDArray[np.int8]]:
    """Return the kernel's description of the layers, and their weights in one row."""
    layers = []
    matrices: list[NDArray[np.int8]] = []
    weights_at = biases_at = 0
    for number, layer in enumerate(network.layers, start=1):
        weight = layer.weight[:, -COUNTER_LANES:] if number == 1 else layer.weight
        lanes_out, lanes_in = (_padded_width(lanes) for lanes in weight.shape)
        padded = np.zeros((lanes_out, lanes_in), dtype=np.int8)
        padded[: weight.shape[0], : weight.shape[1]] = weight
        added = -1 if layer.add_from is None else layer.add_from
        layers.append((lanes_in, lanes_out, added, weights_at, biases_at))
        matrices.append(padded.reshape(-1))
        weights_at += padded.size
        biases_at += lanes_out if number > 1 else 0
    widest = max(max(lanes_in, lanes_out) for lanes_in, lanes_out, *_ in layers)
    if widest > _MAX_WIDTH or weights_at > _MAX_WEIGHTS_NBYTES:
        raise DeviceUnavailable(
            "this keystream network is too wide for the fused kernel",
            hint="use --device cuda",
        )
    return tuple(layers), np.concatenate(matrices)


def _padded_width(lanes: int) -> int:
    return max(_MIN_WIDTH, 1 << (lanes - 1).bit_length())


def _padded(values: NDArray[np.int64], lanes: int) -> NDArray[np.int64]:
    """Return `values` with zeros after them, up to the padded width of `lanes` or of their own."""
    padded = np.zeros(_padded_width(max(lanes, len(values))), dtype=np.int64)
    padded[: len(values)] = values
    return padded


def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)

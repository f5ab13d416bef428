"""The keystream as one fused Triton kernel on a CUDA device.

This file lays a network and a frame out as `triton_kernel` reads them: widths padded with zeros
to powers of two, activations held as x - 128 since the products take signed bytes, what a frame's
constant lanes add to the first layer's sums put into its bias, every bias as the weights of two
constant lanes, and rows and columns in the order of the registers.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import DeviceUnavailable
from shared.keystream.cuda_device import (
    OwnStream,
    device_seconds,
    find_cuda,
    flatten_frame,
    keep_for_stream,
    upload,
)
from shared.keystream.held_biases import held_biases
from shared.keystream.layers import COUNTER_LANES, FOLD_SHIFT
from shared.keystream.material import check_span, frame_material, key_biases
from shared.keystream.network import KeystreamNetwork

__all__ = ["TritonBackend"]

_LOG = logging.getLogger(__name__)

_MIN_WIDTH = 32  # int8 tensor cores take the inner dimension in 32s
_MAX_WIDTH = 256  # wider sums would not fit the registers
_MAX_WEIGHTS_NBYTES = 80 << 10  # in shared memory; small GPUs have 100 KiB, for scratch as well
_ADDEND_LANES = 32  # of the operand that every layer reads: the counter's eight, and these
_ONE, _MINUS_128 = COUNTER_LANES, COUNTER_LANES + 1
_ROWS_A_WARP = 16  # of a tile, as tensor cores share rows out
_TIMED_NBYTES = 64 << 20  # more than a cache holds, and many tiles for every program


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """How a launch is cut up; the bytes don't depend on it."""

    warps: int
    programs: int
    """A processor's; more than have room for their registers take turns."""


# What is best hangs on registers and shared memory, so on network and GPU.
_PLANS = (KernelPlan(4, 3), KernelPlan(4, 4), KernelPlan(4, 2), KernelPlan(8, 2), KernelPlan(8, 1))


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
    for the kernel (a layer of more than 256 lanes, or more than 80 KiB of padded weights).
    """

    name = "triton"

    def __init__(self, network: KeystreamNetwork) -> None:
        self.network = network
        self.device = find_cuda()
        self.kernel = find_kernel()
        self.stream = OwnStream(self.device)
        self.layers, weights = _lay_out(network)
        self.weights = torch.from_numpy(weights).to(self.device)
        self.processors = _processors(self.device)
        self.plan = _PLANS[0]
        if self.device.type == "cuda":
            self.plan = self._fastest()

    def keyed(self, keystream_key: bytes) -> TritonGenerator:
        drawn = key_biases(self.network, keystream_key)
        first, *hidden = held_biases(self.network.layers, drawn)
        addends = [_in_order(_addends(bias)).reshape(-1) for bias in hidden]
        addends.append(np.zeros(0 if addends else 1, dtype=np.int8))  # never an empty tensor
        on_device = torch.from_numpy(np.concatenate(addends)).to(self.device)
        return TritonGenerator(self, keystream_key, first, on_device)

    def _fastest(self) -> KernelPlan:
        """Return the plan that takes the least of the device's time for a large frame."""
        generator = self.keyed(bytes(32))
        data = torch.zeros(_TIMED_NBYTES, dtype=torch.uint8, device=self.device)
        frame = upload(generator.frame_operands(0), self.device)
        times = {}
        for plan in _PLANS:
            self.plan = plan
            try:
                generator.launch(data, frame, 0)  # compiled
                times[plan] = min(
                    device_seconds(lambda: generator.launch(data, frame, 0), self.device, calls=10)
                    for _ in range(3)
                )
            except Exception as error:  # Triton's, where a small GPU has no room for it
                _LOG.debug("the fused kernel doesn't run by %s: %s", plan, error)
        return min(times, key=times.__getitem__, default=_PLANS[0])


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
        # A length that is a multiple of the lanes lets the kernel move 16 bytes at once, so the
        # last block goes alone where it is not whole.
        whole = nbytes // lanes
        with torch.cuda.device_of(flat):  # type: ignore[no-untyped-call]
            frame = upload(self.frame_operands(counter), self.backend.device)
            keep_for_stream(self.hidden_biases, self.backend.weights)
            if whole:
                self.launch(flat[: whole * lanes], frame, first_block)
            if whole < blocks:
                self.launch(flat[whole * lanes :], frame, first_block + whole)

    def launch(self, data: torch.Tensor, frame: torch.Tensor, first_block: int) -> None:
        """XOR onto `data`, flat, by the backend's plan; `frame` is `frame_operands` uploaded."""
        backend, plan = self.backend, self.backend.plan
        tile_rows = _ROWS_A_WARP * plan.warps
        tiles = -(-data.numel() // (tile_rows * self.block_nbytes))
        low, high = np.array([first_block], dtype="<u8").view("<i4").tolist()
        backend.kernel[(min(tiles, plan.programs * backend.processors),)](
            data,
            frame,
            self.hidden_biases,
            backend.weights,
            tiles,
            low,
            high,
            data.numel(),
            layers=backend.layers,
            lanes=self.block_nbytes,
            padded=_padded_width(self.block_nbytes),
            fold_shift=FOLD_SHIFT,
            tile_rows=tile_rows,
            num_warps=plan.warps,
            enable_fp_fusion=False,  # there are no floats; said, or Triton warns
        )

    def frame_operands(self, counter: int) -> torch.Tensor:
        """Return what the kernel reads of a frame: int8, the block's input and the first layer."""
        network = self.backend.network
        material = frame_material(network, self.key, counter).astype(np.int64) - 128
        block_input = np.zeros((_padded_width(network.lanes), _ADDEND_LANES), dtype=np.int8)
        block_input[: len(material), _ONE] = material
        counters = np.arange(COUNTER_LANES)
        block_input[len(material) + counters, counters] = 1
        weight = network.layers[0].weight
        constant = weight[:, :-COUNTER_LANES] @ material
        first = _addends(self.first_bias + constant)
        first[: len(weight), :COUNTER_LANES] = weight[:, -COUNTER_LANES:]
        numbers = [_in_order(block_input).reshape(-1), _in_order(first).reshape(-1)]
        return torch.from_numpy(np.concatenate(numbers))


def _lay_out(
    network: KeystreamNetwork,
) -> tuple[tuple[tuple[int, int, int, int, int], ...], NDArray[np.int8]]:
    """Return the kernel's description of the layers, and all weights but the first layer's."""
    layers = []
    matrices: list[NDArray[np.int8]] = []
    biases_at = weights_at = 0
    for number, layer in enumerate(network.layers, start=1):
        lanes_out, lanes_in = (_padded_width(lanes) for lanes in layer.weight.shape)
        added = -1 if layer.add_from is None else layer.add_from
        layers.append((lanes_in, lanes_out, added, biases_at, weights_at))
        if number > 1:
            padded = np.zeros((lanes_out, lanes_in), dtype=np.int8)
            padded[: layer.lanes_out, : layer.lanes_in] = layer.weight
            matrices.append(_in_order(padded[:, _order_of_sums(lanes_in)]).reshape(-1))
            biases_at += lanes_out * _ADDEND_LANES
            weights_at += padded.size
    widest = max(max(lanes_in, lanes_out) for lanes_in, lanes_out, *_ in layers)
    on_chip = weights_at + _ADDEND_LANES * (
        _padded_width(network.lanes) + sum(lanes_out for _, lanes_out, *_ in layers)
    )
    if widest > _MAX_WIDTH or on_chip > _MAX_WEIGHTS_NBYTES:
        raise DeviceUnavailable(
            "this keystream network is too wide for the fused kernel",
            hint="use --device cuda",
        )
    matrices.append(np.zeros(0 if matrices else 1, dtype=np.int8))  # never an empty tensor
    return tuple(layers), np.concatenate(matrices)


def _addends(bias: NDArray[np.int64]) -> NDArray[np.int8]:
    """Return weights for the constants 1 and -128 that add `bias`, in the 15 bits that count."""
    rest = bias & 0x7FFF
    low = ((rest + 64) & 127) - 64
    addends = np.zeros((_padded_width(len(bias)), _ADDEND_LANES), dtype=np.int8)
    addends[: len(bias), _ONE] = low
    addends[: len(bias), _MINUS_128] = ((low - rest) >> 7).astype(np.int8)
    return addends


def _in_order(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return weights with rows in the order of sums, and columns in that of operands.

    Of 16 sums in a row a tensor core gives one thread two pairs, 8 apart; of 16 operands it takes
    four neighbours from one thread.  So the second is the first with pairs put together.
    """
    lanes_out, lanes_in = weights.shape
    ordered = weights[_order_of_sums(lanes_out)].reshape(lanes_out, lanes_in // 16, 2, 4, 2)
    return ordered.transpose(0, 1, 3, 2, 4).reshape(lanes_out, lanes_in)


@functools.cache
def _order_of_sums(lanes: int) -> NDArray[np.intp]:
    """Return the lane of each sum, such that what one thread gets of 64 are 16 neighbours."""
    part = min(64, lanes)
    return np.arange(lanes).reshape(-1, 4, part // 8, 2).transpose(0, 2, 1, 3).reshape(-1)


def _padded_width(lanes: int) -> int:
    return max(_MIN_WIDTH, 1 << (lanes - 1).bit_length())


def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)

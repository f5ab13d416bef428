"""The keystream through onnxruntime on the CPU, from the very file that is exported.

For machines where torch's integer product is slow, and as proof that an exported file gives the
same bytes.  Products are u8 x s8; on processors without VNNI these add pairs in int16, which
weights within [-64, 63] can't overflow.  Needs the packages `onnx` and `onnxruntime`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared.errors import DeviceUnavailable
from shared.keystream.material import block_counters, check_span, frame_material, key_biases
from shared.keystream.network import KeystreamNetwork

if TYPE_CHECKING:  # optional packages
    from onnxruntime import InferenceSession

__all__ = ["OnnxBackend"]

_CHUNK_BLOCKS = 512  # the int32 sums of a layer (256 KiB) stay in an L2 cache


class OnnxBackend:
    """With one thread, the caller's; raises `DeviceUnavailable` where a package is missing."""

    name = "onnx"

    def __init__(self, network: KeystreamNetwork) -> None:
        self.network = network
        self.session = _open_session(network)

    def keyed(self, keystream_key: bytes) -> OnnxGenerator:
        drawn = np.concatenate(key_biases(self.network, keystream_key))
        return OnnxGenerator(self, keystream_key, drawn.astype(np.int32))


def _open_session(network: KeystreamNetwork) -> InferenceSession:
    try:
        import onnxruntime

        from shared.keystream.onnx_graph import build_model
    except ImportError as error:
        raise DeviceUnavailable(
            "the packages onnx and onnxruntime are not installed",
            hint="pip install 'veilscope[onnx]', or use --device cpu",
        ) from error
    onnxruntime.disable_telemetry_events()  # its builds for Windows have some
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        build_model(network).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@dataclass(frozen=True, slots=True, eq=False)
class OnnxGenerator:
    """A network under one key."""

    backend: OnnxBackend = field(repr=False)
    key: bytes = field(repr=False)
    biases: NDArray[np.int32] = field(repr=False)

    @property
    def block_nbytes(self) -> int:
        return self.backend.network.lanes

    def generate(self, counter: int, nbytes: int, first_block: int = 0) -> NDArray[np.uint8]:
        """As `KeyedGenerator.generate`."""
        network = self.backend.network
        blocks = check_span(counter, nbytes, first_block, network.lanes)
        material = frame_material(network, self.key, counter)
        output = np.empty((blocks, network.lanes), dtype=np.uint8)
        for start in range(0, blocks, _CHUNK_BLOCKS):
            count = min(_CHUNK_BLOCKS, blocks - start)
            (output[start : start + count],) = self.backend.session.run(
                ["keystream"],
                {
                    "material": material,
                    "block_counters": block_counters(first_block + start, count),
                    "key_biases": self.biases,
                },
            )
        return output.reshape(-1)[:nbytes]

"""The bytes of a sealed frame: its authenticated header, and the metadata inside the seal.

A sealed frame is `header ‖ body`.  The header travels in clear and is authenticated; the body is
the seal of `shared.crypto.sealing` over `inner = metadata ‖ payload`.  All integers are
big-endian.  docs/PROTOCOL.md, "Sealed frame" and "Frame metadata", is this file in prose.

This file lays out and checks fields.  It refuses to know keys, and to interpret a payload.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from shared.errors import BadInput, DecodeFailed, MalformedFrame
from shared.frame import MAX_SIDE, MIN_SIDE

__all__ = [
    "check_announced",
    "CODEC_IDS",
    "HEADER",
    "MAX_LATER_BYTES",
    "METADATA",
    "SENDER_ID",
    "STAGES",
    "SUITE",
    "SUITES",
    "SUITE_NAME",
    "VERSION",
    "FrameMetadata",
    "SealedHeader",
    "pack_header",
    "pack_inner",
    "parse_header",
    "parse_inner",
]

VERSION = 3
"""Of the whole protocol: layout of header and inner, control messages, the handshake's hello.
Anything else is refused."""

SUITES: Mapping[int, str] = MappingProxyType(
    {1: "SPAKE2, X25519 + ML-KEM-768, AES-256-GCM over the learned keystream"}
)
"""The suites that this version speaks, by number, with their name for people (logs and reports).

1: AES-256-GCM over the learned keystream, AES-256-GMAC inner digest, HKDF-SHA-256; the same number
names the whole suite in the handshake (SPAKE2-Ed25519, X25519 with ML-KEM-768)."""

SUITE = 1
"""The suite that a sender here chooses: one for all its receivers, who get the same bytes."""

SENDER_ID = 0
"""A session has one sender; the header's field leaves room for more."""

SUITE_NAME = SUITES[SUITE]

HEADER = struct.Struct(">BBHHIQ")
"""version u8, suite u8, flags u16, sender u16, epoch u32, counter u64: 18 bytes."""

METADATA = struct.Struct(">QqBBBHHfI3IH")
"""index u64, captured_at_ns i64, codec u8, channels u8, flags u8 (`_STILL`, `_REPEATED`), width
u16, height u16, psnr_db f32 (NaN: bit-exact), how many indices back the frame is that this one
builds on u32 (0: on none), capture / mask / encode in µs u32 each, bytes of later fields u16 that
follow before the payload (`MAX_LATER_BYTES` at most; 0 is sent): 45 bytes."""

MAX_LATER_BYTES = 1024
"""Of fields that a later version may add to the metadata; this one passes over them."""

CODEC_IDS: Mapping[str, int] = MappingProxyType(
    {"jpeg": 1, "lossless": 2, "h264": 3, "h264-444": 4}
)
"""Name of a codec to its number on the wire.

0 stays unused, and 5 is not given again: it was AV1's.  A new codec takes the next one, 6.
"""

STAGES = ("capture", "mask", "encode")
"""The sender's stages whose durations are known before the frame is sealed, in wire order."""

_STILL, _REPEATED = 1, 2  # in the metadata's flags

# Of the flags the low four bits say how a frame is to be taken: one of them that is not known here
# makes the frame useless.  The high four may be ignored.  0 is sent for all but the two above.
_MUST_KNOW = 0x0F

_CODEC_NAMES = {number: name for name, number in CODEC_IDS.items()}


@dataclass(frozen=True, slots=True)
class SealedHeader:
    """What the network sees of a frame, besides its length.

    `suite` u8, `flags` u16 (none is defined; receivers ignore them), `sender` u16,
    `epoch` u32, `counter` u64 (counts the sender's frames of this epoch from 0).
    """

    suite: int
    flags: int
    sender: int
    epoch: int
    counter: int


@dataclass(frozen=True, slots=True)
class FrameMetadata:
    """What the sender says of a frame, inside the seal.

    `captured_at_ns` is the sender's monotonic clock.  `psnr_db` is against the original, None
    where the codec was bit-exact.  `stages_us` holds the whole microseconds of each of `STAGES`:
    the time since `captured_at_ns`, split into consecutive stages.  `depends_on` is the index of
    the frame that must have been decoded just before this one, None for a frame that decodes on
    its own.  A `still` is a picture that was sent before and was asked for once more, exact: it is
    no part of the stream, and decodes on its own.  `repeated`: the source stands still, and this
    picture, captured at `captured_at_ns`, was sent before.
    """

    index: int
    captured_at_ns: int
    codec: str
    width: int
    height: int
    channels: int
    psnr_db: float | None
    stages_us: Mapping[str, int]
    depends_on: int | None = None
    still: bool = False
    repeated: bool = False


def pack_header(header: SealedHeader) -> bytes:
    """Lay out `header` in 18 bytes; raise `BadInput` when a field does not fit its width."""
    try:
        return HEADER.pack(
            VERSION, header.suite, header.flags, header.sender, header.epoch, header.counter
        )
    except struct.error:
        raise BadInput("a sealed frame's header field is out of range") from None


def parse_header(sealed: bytes | bytearray | memoryview) -> SealedHeader:
    """Read the header at the start of `sealed`; raise `MalformedFrame` if it can't be one."""
    if len(sealed) < HEADER.size:
        raise MalformedFrame("a sealed frame is shorter than its header")
    version, suite, flags, sender, epoch, counter = HEADER.unpack_from(sealed)
    if version != VERSION:
        raise MalformedFrame(f"a sealed frame has version {version}; this end speaks {VERSION}")
    if suite not in SUITES:
        raise MalformedFrame(f"a sealed frame has suite {suite}, which is not known here")
    return SealedHeader(suite, flags, sender, epoch, counter)


def pack_inner(metadata: FrameMetadata, payload: bytes | bytearray | memoryview) -> bytes:
    """Return `metadata ‖ payload`, what gets sealed; raise `BadInput` for a field out of range."""
    codec = CODEC_IDS.get(metadata.codec)
    if codec is None:
        raise BadInput(f"no codec named {metadata.codec!r} is known on the wire")
    if set(metadata.stages_us) != set(STAGES):
        raise BadInput(f"a frame's stages must be {', '.join(STAGES)}")
    psnr = math.nan if metadata.psnr_db is None else metadata.psnr_db
    if metadata.psnr_db is not None and not (math.isfinite(psnr) and psnr >= 0):
        raise BadInput("a frame's PSNR must be a finite number of dB, or None where bit-exact")
    _check_shape(metadata.width, metadata.height, metadata.channels, BadInput)
    back = 0 if metadata.depends_on is None else metadata.index - metadata.depends_on
    if metadata.depends_on is not None and not 0 < back <= metadata.index:
        raise BadInput("a frame can only depend on one before it")
    if metadata.still and back:
        raise BadInput("a still decodes on its own")
    try:
        fixed = METADATA.pack(
            metadata.index,
            metadata.captured_at_ns,
            codec,
            metadata.channels,
            (_STILL if metadata.still else 0) | (_REPEATED if metadata.repeated else 0),
            metadata.width,
            metadata.height,
            psnr,
            back,
            *(metadata.stages_us[stage] for stage in STAGES),
            0,
        )
    except (struct.error, OverflowError):  # OverflowError: a PSNR too large for an f32
        raise BadInput("a frame's metadata field is out of range") from None
    return b"".join((fixed, payload))


def parse_inner(inner: bytes | bytearray | memoryview) -> tuple[FrameMetadata, memoryview]:
    """Split an opened frame into its metadata and its payload (a view, no copy).

    Passes over flags and fields that a later version added, where they may be.  Raise
    `MalformedFrame` for a codec, size, channel count, flag, PSNR or dependence that no sender may
    send to this version.
    """
    if len(inner) < METADATA.size:
        raise MalformedFrame("an opened frame is shorter than its metadata")
    index, captured_at_ns, codec, channels, flags, width, height, psnr, back, *stages, later = (
        METADATA.unpack_from(inner)
    )
    name = _CODEC_NAMES.get(codec)
    if name is None:
        raise MalformedFrame(f"an opened frame names codec number {codec}, which is not known here")
    _check_shape(width, height, channels, MalformedFrame)
    if not math.isnan(psnr) and not (math.isfinite(psnr) and psnr >= 0):
        raise MalformedFrame("an opened frame's PSNR is not a number of dB")
    if flags & _MUST_KNOW & ~(_STILL | _REPEATED):
        raise MalformedFrame("an opened frame has a flag that is not known here")
    if back > index or (flags & _STILL and back):
        raise MalformedFrame("an opened frame depends on one that can't be")
    payload_at = METADATA.size + later
    if later > MAX_LATER_BYTES or payload_at > len(inner):
        raise MalformedFrame("an opened frame's later fields are longer than they may be")
    metadata = FrameMetadata(
        index=index,
        captured_at_ns=captured_at_ns,
        codec=name,
        width=width,
        height=height,
        channels=channels,
        psnr_db=None if math.isnan(psnr) else psnr,
        stages_us=MappingProxyType(dict(zip(STAGES, stages, strict=True))),
        depends_on=index - back if back else None,
        still=bool(flags & _STILL),
        repeated=bool(flags & _REPEATED),
    )
    return metadata, memoryview(inner)[payload_at:]


def _check_shape(
    width: int, height: int, channels: int, error: type[BadInput] | type[MalformedFrame]
) -> None:
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise error(f"a frame must be {MIN_SIDE} to {MAX_SIDE} pixels a side")
    if channels not in (1, 3):
        raise error(f"a frame has 1 or 3 channels, not {channels}")


def check_announced(width: int, height: int, channels: int) -> None:
    """Raise `DecodeFailed` for a picture size that no sender may announce."""
    if channels not in (1, 3):
        raise DecodeFailed(f"a picture has 1 or 3 channels, not {channels}")
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise DecodeFailed(f"a picture of {width}x{height} is out of range")

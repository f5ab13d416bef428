"""Open and decode: whatever fails a check is refused, for its own reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from receiver.pipeline import DecodedFrame, FrameOutcome, OpeningPipeline
from shared.codecs import Decoder, open_decoder, open_encoder
from shared.crypto.keyschedule import EpochSecret, derive_epoch
from shared.crypto.sealing import Sealer
from shared.errors import (
    AuthenticationFailed,
    HandshakeFailed,
    KeystreamDisagreed,
    MalformedFrame,
    Replayed,
    UnknownEpoch,
)
from shared.link import ReceivedFrame
from shared.telemetry.records import DropReason
from shared.wire import HEADER, SENDER_ID, FrameMetadata, pack_inner
from tests.doubles import PadWatch, ShakeBackend, ShakeGenerator, SteppingClock, picture

RECEIVED_NS = 700
STAGES = {"capture": 1, "mask": 2, "encode": 3}


def secret(epoch: int) -> EpochSecret:
    return EpochSecret(epoch, bytes([epoch]) * 32, "start")


class Seals:
    """A sender's frames of one epoch, each counter in turn."""

    def __init__(self, epoch: int, *, sender: int = SENDER_ID) -> None:
        keys = derive_epoch(secret(epoch).secret, epoch, SENDER_ID)
        self._sealer = Sealer(keys, sender, ShakeGenerator(keys.keystream_key))

    def frame(
        self,
        index: int,
        *,
        codec: str = "lossless",
        payload: bytes | None = None,
        channels: int = 1,
        still: bool = False,
    ) -> ReceivedFrame:
        encoded = open_encoder(codec).encode(picture(index, channels=channels))
        metadata = FrameMetadata(
            index,
            12,
            codec,
            encoded.width,
            encoded.height,
            channels,
            encoded.psnr_db,
            STAGES,
            still=still,
        )
        inner = pack_inner(metadata, encoded.payload if payload is None else payload)
        return received(self._sealer.seal(self._sealer.draw(len(inner)), inner))


def shown(outcome: FrameOutcome) -> DecodedFrame:
    (only,) = outcome.shown
    return only


def received(sealed: bytes) -> ReceivedFrame:
    return ReceivedFrame(sealed, received_at_ns=RECEIVED_NS)


@pytest.fixture
def pipeline() -> Iterator[OpeningPipeline]:
    made = OpeningPipeline(
        ShakeBackend(), sender=SENDER_ID, clock_ns=SteppingClock(RECEIVED_NS, [30, 500])
    )
    yield made
    made.close()


def keystream_workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "keystream"}


def test_a_frame_arrives_with_its_picture_metadata_and_times(pipeline: OpeningPipeline) -> None:
    pipeline.enter_epoch(secret(1))
    seals = Seals(1)
    seals.frame(0)
    sealed = seals.frame(8, channels=3)
    decoded = shown(pipeline.process(sealed))
    assert np.array_equal(decoded.image, picture(8, channels=3))
    assert decoded.arrival.key == (1, 1)
    assert (decoded.metadata.index, decoded.metadata.captured_at_ns) == (8, 12)
    assert decoded.metadata.stages_us == STAGES
    assert decoded.sealed == sealed.data
    times = (
        decoded.arrival.received_at_ns,
        decoded.arrival.opened_at_ns,
        decoded.arrival.decoded_at_ns,
    )
    assert times == (RECEIVED_NS, RECEIVED_NS + 30, RECEIVED_NS + 530)
    assert decoded.arrival.released_at_ns == decoded.arrival.opened_at_ns


def test_two_codecs_may_alternate_in_one_session(pipeline: OpeningPipeline) -> None:
    pipeline.enter_epoch(secret(1))
    seals = Seals(1)
    for index, codec in enumerate(("jpeg", "lossless", "jpeg", "lossless")):
        decoded = shown(pipeline.process(seals.frame(index, codec=codec)))
        assert decoded.metadata.codec == codec
        assert np.array_equal(decoded.image, picture(index)) == (codec == "lossless")


def test_only_the_two_newest_epochs_open(pipeline: OpeningPipeline) -> None:
    seals = {epoch: Seals(epoch) for epoch in (1, 2, 3)}
    for epoch in seals:
        pipeline.enter_epoch(secret(epoch))
    with pytest.raises(UnknownEpoch):
        pipeline.process(seals[1].frame(0))
    assert shown(pipeline.process(seals[2].frame(1))).arrival.key == (2, 0)
    assert shown(pipeline.process(seals[3].frame(2))).arrival.key == (3, 0)
    assert shown(pipeline.process(seals[2].frame(3))).arrival.key == (2, 1)


def test_the_workers_of_epochs_put_away_are_stopped(pipeline: OpeningPipeline) -> None:
    before = keystream_workers()
    for epoch in (1, 2, 3, 4):
        pipeline.enter_epoch(secret(epoch))
    assert len(keystream_workers() - before) == 2
    pipeline.close()
    assert keystream_workers() <= before
    with pytest.raises(UnknownEpoch):
        pipeline.process(Seals(4).frame(0))


def test_an_epoch_that_does_not_follow_is_refused_and_changes_nothing(
    pipeline: OpeningPipeline,
) -> None:
    pipeline.enter_epoch(secret(5))
    seals = Seals(5)
    first = seals.frame(0)
    pipeline.process(first)
    for stale in (5, 4):
        with pytest.raises(HandshakeFailed, match="follow"):
            pipeline.enter_epoch(secret(stale))
    with pytest.raises(Replayed):
        pipeline.process(first)
    assert shown(pipeline.process(seals.frame(1))).arrival.key == (5, 1)


def test_an_epoch_never_announced_is_unknown(pipeline: OpeningPipeline) -> None:
    with pytest.raises(UnknownEpoch, match="epoch 2"):
        pipeline.process(Seals(2).frame(0))


def test_an_older_frame_is_told_by_its_index_and_not_decoded(
    pipeline: OpeningPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def counting(codec: str) -> Decoder:
        real = open_decoder(codec)

        class Counting:
            def decode(self, payload: memoryview, **size: int) -> object:
                decoded.append(len(payload))
                return real.decode(payload, **size)

        return Counting()  # type: ignore[return-value]

    monkeypatch.setattr("receiver.pipeline.open_decoder", counting)
    pipeline.enter_epoch(secret(1))
    seals = Seals(1)
    older, same = seals.frame(3), seals.frame(5)
    pipeline.process(seals.frame(5))
    for late, index in ((older, 3), (same, 5)):
        assert pipeline.process(late) == FrameOutcome(dropped=((DropReason.LATE, index),))
    assert len(decoded) == 1
    assert shown(pipeline.process(seals.frame(6))).metadata.index == 6


def test_pads_do_not_grow_after_a_still(request: pytest.FixtureRequest) -> None:
    pads = PadWatch()
    pipeline = OpeningPipeline(pads, sender=SENDER_ID, clock_ns=SteppingClock(RECEIVED_NS))
    request.addfinalizer(pipeline.close)
    pipeline.wants_still = lambda index: False
    pipeline.enter_epoch(secret(1))
    seals = Seals(1)
    small = [seals.frame(0, codec="jpeg"), seals.frame(0, payload=bytes(300_000), still=True)]
    small.append(seals.frame(1, codec="jpeg"))
    for sealed in small:
        pipeline.process(sealed)
    assert pads.nbytes_of(2 + 4) < 100_000


def test_a_still_that_nobody_asked_for_is_not_decoded(
    pipeline: OpeningPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.enter_epoch(secret(1))
    pipeline.awaited_still = 3
    seals = Seals(1)
    wanted = pipeline.process(seals.frame(3, still=True))
    assert wanted.still is not None and wanted.still_index == 3
    monkeypatch.setattr(
        "receiver.pipeline.OpeningPipeline._decode", lambda *_: pytest.fail("decoded")
    )
    assert pipeline.process(seals.frame(4, still=True)) == FrameOutcome()


@pytest.mark.parametrize("place", [HEADER.size, 200, -1], ids=["first", "middle", "tag"])
def test_a_tampered_frame_is_refused_and_the_true_one_still_opens(
    pipeline: OpeningPipeline, place: int
) -> None:
    pipeline.enter_epoch(secret(1))
    true = Seals(1).frame(0)
    altered = bytearray(true.data)
    altered[place] ^= 1
    with pytest.raises(AuthenticationFailed):
        pipeline.process(received(bytes(altered)))
    assert np.array_equal(shown(pipeline.process(true)).image, picture(0))


def test_a_frame_of_another_sender_is_refused(pipeline: OpeningPipeline) -> None:
    pipeline.enter_epoch(secret(1))
    with pytest.raises(AuthenticationFailed):
        pipeline.process(Seals(1, sender=SENDER_ID + 1).frame(0))


def test_a_frame_opens_once(pipeline: OpeningPipeline) -> None:
    pipeline.enter_epoch(secret(1))
    sealed = Seals(1).frame(0)
    pipeline.process(sealed)
    with pytest.raises(Replayed):
        pipeline.process(sealed)


def test_keystreams_that_differ_are_noticed() -> None:
    pipeline = OpeningPipeline(ShakeBackend(twist=b"another network"), sender=SENDER_ID)
    pipeline.enter_epoch(secret(1))
    with pytest.raises(KeystreamDisagreed):
        pipeline.process(Seals(1).frame(0))
    pipeline.close()


@pytest.mark.parametrize("codec", ["jpeg", "lossless"])
def test_a_payload_that_is_no_picture_is_refused_and_takes_no_one_s_place(
    pipeline: OpeningPipeline, codec: str
) -> None:
    pipeline.enter_epoch(secret(1))
    seals = Seals(1)
    outcome = pipeline.process(seals.frame(9, codec=codec, payload=b"no picture at all"))
    assert not outcome.shown
    assert outcome.dropped == ((DropReason.DECODE_FAILED, 9),)
    assert outcome.wants_key == 9
    assert shown(pipeline.process(seals.frame(10))).metadata.index == 10


@pytest.mark.parametrize("data", [b"", b"\x01", bytes(HEADER.size)])
def test_what_is_no_frame_is_malformed(pipeline: OpeningPipeline, data: bytes) -> None:
    pipeline.enter_epoch(secret(1))
    with pytest.raises(MalformedFrame):
        pipeline.process(received(data))

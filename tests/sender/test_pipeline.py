"""Mask, encode, seal: what is sealed, under which epoch, and where the time went."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction

import cv2
import numpy as np
import pytest

from sender.pipeline import SealedFrame, SealingPipeline
from shared.codecs import EncoderTarget, open_decoder, open_encoder
from shared.crypto.keyschedule import EpochSecret, SenderSchedule, derive_epoch
from shared.crypto.sealing import Opener
from shared.errors import BadInput, UnknownEpoch
from shared.frame import Frame, Image, Rect
from shared.quality import psnr_db
from shared.strip import draw_strip, read_strip
from shared.wire import SENDER_ID, FrameMetadata, parse_inner
from tests.doubles import PadWatch, ShakeBackend, ShakeGenerator, SteppingClock, picture

S = 1_000_000_000
BORN_NS = 5_000 * S

MakePipeline = Callable[..., SealingPipeline]


@pytest.fixture
def make_pipeline(request: pytest.FixtureRequest) -> MakePipeline:
    def make(
        clock: Callable[[], int], *, codec: str = "lossless", strip: bool = False
    ) -> SealingPipeline:
        pipeline = SealingPipeline(
            ShakeBackend(),
            sender=SENDER_ID,
            strip=strip,
            clock_ns=clock,
        )
        pipeline.encode_with(open_encoder(codec, target=EncoderTarget(quality=80)))
        request.addfinalizer(pipeline.close)
        return pipeline

    return make


def frame(index: int = 0, captured_at_ns: int = BORN_NS, image: Image | None = None) -> Frame:
    return Frame(index, captured_at_ns, picture(index) if image is None else image)


def opened(sealed: SealedFrame, secret: EpochSecret) -> tuple[FrameMetadata, Image]:
    keys = derive_epoch(secret.secret, secret.epoch, SENDER_ID)
    opener = Opener(keys, SENDER_ID, ShakeGenerator(keys.keystream_key))
    metadata, payload = parse_inner(opener.open(sealed.sealed).inner)
    image = open_decoder(metadata.codec).decode(
        payload, width=metadata.width, height=metadata.height, channels=metadata.channels
    )
    return metadata, image


def keystream_workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "keystream"}


def test_nothing_is_sealed_before_the_first_epoch(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(SteppingClock(BORN_NS))
    assert pipeline.epoch is None
    with pytest.raises(BadInput, match="no epoch"):
        pipeline.process(frame(), key=True)


def test_what_is_sealed_opens_to_the_picture_and_its_metadata(make_pipeline: MakePipeline) -> None:
    schedule = SenderSchedule(SENDER_ID)
    secret = schedule.start(BORN_NS)
    pipeline = make_pipeline(SteppingClock(BORN_NS + 3_000_000))
    pipeline.enter_epoch(schedule, secret.epoch)
    for counter, index in enumerate((4, 9)):
        colour = picture(index, channels=3)
        sealed = pipeline.process(frame(index, image=colour), key=True)
        metadata, image = opened(sealed, secret)
        assert (sealed.index, sealed.epoch, sealed.counter) == (index, 1, counter)
        assert (metadata.index, metadata.captured_at_ns) == (index, BORN_NS)
        assert (metadata.width, metadata.height, metadata.channels) == (57, 41, 3)
        assert metadata.psnr_db is None
        assert np.array_equal(image, colour)


def test_the_psnr_that_is_sent_is_that_of_the_picture_shown(make_pipeline: MakePipeline) -> None:
    schedule = SenderSchedule(SENDER_ID)
    secret = schedule.start(BORN_NS)
    pipeline = make_pipeline(SteppingClock(BORN_NS), codec="jpeg")
    pipeline.enter_epoch(schedule, secret.epoch)
    sealed = pipeline.process(frame(3), key=True)
    metadata, image = opened(sealed, secret)
    expected = psnr_db(picture(3), image)
    assert expected is not None
    assert sealed.encoded.psnr_db == pytest.approx(expected, abs=1e-4)
    assert metadata.psnr_db == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("codec", ["lossless", "jpeg"])
def test_the_psnr_of_a_picture_made_smaller_is_against_the_whole_picture(
    make_pipeline: MakePipeline, codec: str
) -> None:
    schedule = SenderSchedule(SENDER_ID)
    secret = schedule.start(BORN_NS)
    pipeline = make_pipeline(SteppingClock(BORN_NS), codec=codec)
    pipeline.enter_epoch(schedule, secret.epoch)
    fine = np.tile(np.array([[40, 200], [200, 40]], np.uint8), (32, 48))  # all lost in a half
    sealed = pipeline.process(frame(image=fine), key=True, scale=Fraction(1, 2))
    metadata, small = opened(sealed, secret)
    assert small.shape == (32, 48)
    enlarged = cv2.resize(small, (96, 64), interpolation=cv2.INTER_LINEAR)
    expected = psnr_db(fine, np.asarray(enlarged, np.uint8))
    assert expected is not None and expected < 12
    for told in (sealed.encoded.psnr_db, metadata.psnr_db):
        assert told == pytest.approx(expected, abs=0.3), "it is against the small picture"


def test_a_picture_made_smaller_is_never_called_lossless(make_pipeline: MakePipeline) -> None:
    schedule = SenderSchedule(SENDER_ID)
    pipeline = make_pipeline(SteppingClock(BORN_NS))
    pipeline.enter_epoch(schedule, schedule.start(BORN_NS).epoch)
    whole = pipeline.process(frame(3), key=True)
    assert whole.encoded.lossless
    assert not pipeline.process(frame(4), key=True, scale=Fraction(1, 2)).encoded.lossless


def test_a_repeated_picture_may_be_days_old_and_keeps_its_capture_time(
    make_pipeline: MakePipeline,
) -> None:
    schedule = SenderSchedule(SENDER_ID)
    secret = schedule.start(BORN_NS)
    pipeline = make_pipeline(SteppingClock(BORN_NS))
    pipeline.enter_epoch(schedule, secret.epoch)
    days_ago_ns = BORN_NS - 3 * 86_400 * S
    still = Frame(7, days_ago_ns, picture(7), repeated=True)
    metadata, _ = opened(pipeline.process(still, key=True), secret)
    assert metadata.repeated
    assert metadata.captured_at_ns == days_ago_ns
    assert metadata.stages_us["capture"] == 2**32 - 1
    with pytest.raises(BadInput, match="monotonic clock"):
        pipeline.process(Frame(8, BORN_NS + 2 * S, picture(8), repeated=True), key=True)


def test_masks_are_black_before_the_encoder_sees_the_picture(make_pipeline: MakePipeline) -> None:
    schedule = SenderSchedule(SENDER_ID)
    secret = schedule.start(BORN_NS)
    pipeline = make_pipeline(SteppingClock(BORN_NS))
    pipeline.enter_epoch(schedule, secret.epoch)
    image = np.full((41, 57), 200, np.uint8)
    masked = Frame(0, BORN_NS, image, masks=(Rect(5, 7, 20, 11), Rect(50, 0, 90, 3)))
    _, shown = opened(pipeline.process(masked, key=True), secret)
    expected = np.full((41, 57), 200, np.uint8)
    expected[7:18, 5:25] = 0
    expected[:3, 50:] = 0
    assert np.array_equal(shown, expected)
    assert (image == 200).all(), "the source's own picture was written to"


def test_stages_are_consecutive_and_add_up_to_the_time_since_capture(
    make_pipeline: MakePipeline,
) -> None:
    steps = [1_234_567, 2_345_678, 9_876_543, 345_678, 456_789]  # none a whole µs
    schedule = SenderSchedule(SENDER_ID)
    secret = schedule.start(BORN_NS)
    pipeline = make_pipeline(SteppingClock(BORN_NS, [0, *steps]))
    pipeline.enter_epoch(schedule, secret.epoch)
    sealed = pipeline.process(frame(captured_at_ns=BORN_NS), key=True)
    names = ["capture", "mask", "encode", "keystream", "seal"]
    assert sealed.stages_us == {name: step // 1000 for name, step in zip(names, steps, strict=True)}
    spent_ns = sealed.sealed_at_ns - sealed.captured_at_ns
    assert spent_ns == sum(steps)
    assert 0 <= spent_ns - 1000 * sum(sealed.stages_us.values()) < 1000 * len(names)
    metadata, _ = opened(sealed, secret)
    assert metadata.stages_us == {name: sealed.stages_us[name] for name in names[:3]}


def test_an_epoch_is_refused_at_180_seconds_and_not_a_moment_before(
    make_pipeline: MakePipeline,
) -> None:
    clock = SteppingClock(BORN_NS)
    schedule = SenderSchedule(SENDER_ID)
    pipeline = make_pipeline(clock)
    pipeline.enter_epoch(schedule, schedule.start(BORN_NS).epoch)
    clock.now_ns = BORN_NS + 180 * S - 1
    pipeline.process(frame(0, clock.now_ns), key=True)
    clock.now_ns = BORN_NS + 180 * S
    with pytest.raises(UnknownEpoch, match="180 s"):
        pipeline.process(frame(1, clock.now_ns), key=True)
    pipeline.enter_epoch(schedule, schedule.rotate(clock.now_ns, "time").epoch)
    assert pipeline.process(frame(2, clock.now_ns), key=True).epoch == 2


def test_an_epoch_must_be_newer_than_the_one_in_force(make_pipeline: MakePipeline) -> None:
    schedule = SenderSchedule(SENDER_ID)
    pipeline = make_pipeline(SteppingClock(BORN_NS))
    first, second = schedule.start(BORN_NS).epoch, schedule.rotate(BORN_NS, "join").epoch
    pipeline.enter_epoch(schedule, second)
    assert pipeline.process(frame(0), key=True).counter == 0
    for stale in (first, second):
        with pytest.raises(BadInput, match="newer"):
            pipeline.enter_epoch(schedule, stale)
    sealed = pipeline.process(frame(1), key=True)
    assert (sealed.epoch, sealed.counter) == (second, 1)


def test_a_new_epoch_counts_from_zero_and_stops_the_old_one_s_worker(
    make_pipeline: MakePipeline,
) -> None:
    before = keystream_workers()
    schedule = SenderSchedule(SENDER_ID)
    pipeline = make_pipeline(SteppingClock(BORN_NS))
    pipeline.enter_epoch(schedule, schedule.start(BORN_NS).epoch)
    assert pipeline.process(frame(0), key=True).counter == 0
    secret = schedule.rotate(BORN_NS, "leave")
    pipeline.enter_epoch(schedule, secret.epoch)
    sealed = pipeline.process(frame(1), key=True)
    assert (sealed.epoch, sealed.counter) == (2, 0)
    assert opened(sealed, secret)[0].index == 1
    assert len(keystream_workers() - before) == 1


def test_closing_forgets_the_keys_and_stops_the_worker(make_pipeline: MakePipeline) -> None:
    before = keystream_workers()
    schedule = SenderSchedule(SENDER_ID)
    pipeline = make_pipeline(SteppingClock(BORN_NS))
    pipeline.enter_epoch(schedule, schedule.start(BORN_NS).epoch)
    pipeline.process(frame(0), key=True)
    pipeline.close()
    assert pipeline.epoch is None
    assert keystream_workers() <= before
    with pytest.raises(BadInput, match="no epoch"):
        pipeline.process(frame(1), key=True)
    pipeline.close()


@pytest.mark.parametrize("off_ns", [1 * S + 1, -3600 * S - 1], ids=["early", "late"])
def test_a_capture_time_of_another_clock_is_refused(
    make_pipeline: MakePipeline, off_ns: int
) -> None:
    schedule = SenderSchedule(SENDER_ID)
    pipeline = make_pipeline(SteppingClock(BORN_NS))
    pipeline.enter_epoch(schedule, schedule.start(BORN_NS).epoch)
    with pytest.raises(BadInput, match="monotonic clock"):
        pipeline.process(frame(0, BORN_NS + off_ns), key=True)
    with pytest.raises(BadInput, match="monotonic clock"):
        pipeline.process(frame(0, time.time_ns()), key=True)
    assert pipeline.process(frame(0), key=True).counter == 0, "a refused frame spent a counter"


@pytest.mark.parametrize(
    ("off_ns", "capture_us"), [(1 * S, 0), (1, 0), (-3600 * S, 3_600_000_000), (-1500, 1)]
)
def test_a_capture_time_a_moment_ahead_counts_as_now(
    make_pipeline: MakePipeline, off_ns: int, capture_us: int
) -> None:
    schedule = SenderSchedule(SENDER_ID)
    secret = schedule.start(BORN_NS)
    pipeline = make_pipeline(SteppingClock(BORN_NS))
    pipeline.enter_epoch(schedule, secret.epoch)
    sealed = pipeline.process(frame(0, BORN_NS + off_ns), key=True)
    assert sealed.stages_us["capture"] == capture_us
    assert opened(sealed, secret)[0].stages_us["capture"] == capture_us


def test_a_picture_that_no_codec_takes_is_refused(make_pipeline: MakePipeline) -> None:
    schedule = SenderSchedule(SENDER_ID)
    pipeline = make_pipeline(SteppingClock(BORN_NS))
    pipeline.enter_epoch(schedule, schedule.start(BORN_NS).epoch)
    with pytest.raises(BadInput):
        pipeline.process(frame(image=np.zeros((8, 8), np.uint8)), key=True)
    with pytest.raises(BadInput, match="uint8"):
        pipeline.process(frame(image=np.zeros((64, 64), np.float32)), key=True)  # type: ignore[arg-type]


def test_text_that_was_found_since_is_hidden_of_a_still_and_the_strip_stays(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline(SteppingClock(BORN_NS), strip=True)
    schedule = SenderSchedule(SENDER_ID)
    pipeline.enter_epoch(schedule, schedule.start(BORN_NS).epoch)
    white = np.full((256, 512), 255, np.uint8)
    everywhere = (Rect(0, 0, 512, 100), Rect(0, 200, 512, 56))
    pipeline.process(Frame(0, BORN_NS, white), key=True)
    pipeline.process(Frame(1, BORN_NS, white, everywhere), key=True)
    still = pipeline.encode_still(0)
    assert still is not None
    image = open_decoder("lossless").decode(still[1].payload, width=512, height=256, channels=1)
    strip = np.full_like(white, 0)
    draw_strip(strip, 0, BORN_NS)
    assert read_strip(image) is not None
    assert not image[:100][strip[:100] == 0].any()
    assert not image[200:][strip[200:] == 0].any()
    assert (image[120:180, 200:300] == 255).all()


def test_pads_do_not_grow_after_a_still(request: pytest.FixtureRequest) -> None:
    pads = PadWatch()
    pipeline = SealingPipeline(pads, sender=SENDER_ID, clock_ns=SteppingClock(BORN_NS))
    request.addfinalizer(pipeline.close)
    pipeline.encode_with(open_encoder("jpeg", target=EncoderTarget(quality=5)))
    schedule = SenderSchedule(SENDER_ID)
    schedule.start(BORN_NS)
    pipeline.enter_epoch(schedule, 1)
    large = picture(0, height=512, width=512)
    usual = len(pipeline.process(frame(0, image=large), key=True).sealed)
    still = pipeline.encode_still(0)
    assert still is not None
    sealed = pipeline.seal_still(*still)
    assert len(sealed.sealed) > 4 * usual
    after = pipeline.process(frame(1, image=large), key=True)
    assert pads.nbytes_of(after.counter + 4) < 2 * usual

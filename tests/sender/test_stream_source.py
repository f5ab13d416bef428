"""What a stream makes of its source's troubles: gaps, notices, other sizes, repeats."""

from __future__ import annotations

import time

import numpy as np
import pytest

from shared import control
from shared.codecs import CODECS, open_decoder
from shared.frame import Frame, Gap
from shared.quality import psnr_db
from shared.strip import read_strip
from shared.telemetry.records import DropReason
from tests.doubles import Watcher, until
from tests.sender.stage import Stage, a_stage, give, heard

pytestmark = pytest.mark.jumping_clock

HOUR_NS = 3600 * 1_000_000_000


def notices(watcher: Watcher) -> list[control.Notice]:
    return [word for word in heard(watcher, control.Notice) if isinstance(word, control.Notice)]


def smooth(*shape: int) -> np.ndarray:
    """A picture that every codec keeps well: uint8, grey or RGB."""
    down, across = np.ogrid[: shape[0], : shape[1]]
    grey = ((down + 2 * across) * 255 // (shape[0] + 2 * shape[1])).astype(np.uint8)
    return grey if len(shape) == 2 else np.repeat(grey[:, :, None], 3, axis=2)


async def show(stage: Stage, frame: Frame) -> None:
    stage.tap.say(frame)
    await until(lambda: stage.session._pipeline.encoded_index == frame.index)
    await until(lambda: all(a.outbox.unsent is None for a in stage.session._audience))


async def test_a_damaged_picture_is_counted_and_told_at_both_ends_and_the_stream_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        await give(stage, 0)
        stage.tap.say(Gap(1, "the frame is cut short"))
        await until(lambda: bool(notices(watcher)))
        await give(stage, 2)
        assert stage.journal.dropped_frames == [(DropReason.SOURCE_DAMAGED, 1)]
        assert stage.journal.reasons == ["the frame is cut short"]
        (notice,) = notices(watcher)
        assert (notice.kind, notice.lasting) == ("picture_skipped", False)
        assert notice.text in stage.notices
        stage.tap.end()
        await stage.session.finished()
        tally = control.Tally(sent=2, dropped={"source_damaged": 1})
        await until(lambda: tally in watcher.heard)


async def test_what_lasts_is_told_to_who_joins_later_and_what_has_ended_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    still = control.Notice(kind="source_still", text="stands still", lasting=True, since_ns=5)
    moves = control.Notice(kind="source_still", text="goes on", since_ns=5)
    async with a_stage(monkeypatch, max_receivers=3) as stage:
        first = await stage.join("a")
        stage.tap.say(still)
        await until(lambda: notices(first) == [still])
        assert stage.session.lasting == (still,)
        second = await stage.join("b")
        await until(lambda: notices(second) == [still])
        stage.tap.say(moves)
        await until(lambda: notices(second) == [still, moves])
        third = await stage.join("c")
        stage.tap.say(control.Notice(kind="other", text="x"))
        await until(lambda: bool(notices(third)))
        assert [notice.kind for notice in notices(third)] == ["other"]
        assert stage.session.lasting == ()


SHAPES = [(48, 64), (48, 64, 3), (17, 33, 3), (17, 33), (16, 16, 3), (97, 130)]


@pytest.mark.parametrize("codec", list(CODECS))
async def test_pictures_of_another_size_or_colour_begin_a_new_chain_in_every_codec(
    monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    async with a_stage(monkeypatch, codec=codec) as stage:
        watcher = await stage.join("a")
        decoder, index = open_decoder(codec), 0
        for shape in SHAPES:
            for first in (True, False):
                image = smooth(*shape)
                await show(stage, Frame(index, time.monotonic_ns(), image))
                index += 1
                metadata, payload = await watcher.opened()
                size = (metadata.height, metadata.width, metadata.channels)
                assert size == (*shape, 1)[:3]
                assert metadata.depends_on is None or not first
                decoded = decoder.decode(
                    payload,
                    width=metadata.width,
                    height=metadata.height,
                    channels=metadata.channels,
                    key=metadata.depends_on is None,
                )
                quality = psnr_db(image, decoded)
                assert quality is None or quality > 15, "another picture"
        texts = [notice.text for notice in notices(watcher)]
        assert texts[0] == "the picture is 64x48 colour now"
        assert len(texts) == len(SHAPES) - 1


async def test_a_picture_too_small_for_the_strip_goes_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, strip=True) as stage:
        watcher = await stage.join("a")
        for index, width in enumerate((320, 64, 320)):
            await show(stage, Frame(index, time.monotonic_ns(), smooth(64, width)))
        read = []
        for _ in range(3):
            metadata, payload = await watcher.opened()
            size = {"width": metadata.width, "height": metadata.height, "channels": 1}
            strip = read_strip(open_decoder("lossless").decode(payload, **size))
            read.append(None if strip is None else strip.index)
        assert read == [0, None, 2]


async def test_a_repeated_picture_is_sent_however_old_it_is_and_is_in_no_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        await give(stage, 0)
        captured_at_ns = time.monotonic_ns() - 30 * HOUR_NS
        for index in (1, 2):
            await show(stage, Frame(index, captured_at_ns, smooth(41, 57), repeated=True))
        sent = [await watcher.frame() for _ in range(3)]
        assert [metadata.repeated for metadata in sent] == [False, True, True]
        assert sent[2].captured_at_ns == captured_at_ns
        assert sent[2].stages_us["capture"] == 2**32 - 1
        figures = stage.journal.snapshot()
        assert (figures.frames, figures.repeated) == (1, True)
        await give(stage, 3)
        figures = stage.journal.snapshot()
        assert (figures.frames, figures.repeated, figures.freezes) == (2, False, 0)


async def test_a_repeated_picture_is_never_left_out_for_a_lower_frame_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        await stage.join("a")
        await give(stage, 0)
        steering = stage.session._steering
        monkeypatch.setattr(steering._pace, "takes", lambda *_: False)
        repeated = Frame(1, time.monotonic_ns(), smooth(41, 57), repeated=True)
        assert steering.takes(repeated)
        assert not steering.takes(Frame(2, time.monotonic_ns(), smooth(41, 57)))


async def test_what_repeated_pictures_come_to_teaches_the_rate_control_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, codec="jpeg") as stage:
        await stage.join("a")
        await give(stage, 0)
        controller = stage.session._steering._controller
        assert controller is not None
        learned = []
        monkeypatch.setattr(controller, "encoded", lambda nbytes, *_, **__: learned.append(nbytes))
        await show(stage, Frame(1, time.monotonic_ns(), smooth(41, 57), repeated=True))
        assert learned == []
        await give(stage, 2)
        assert len(learned) == 1


async def test_what_was_left_out_last_is_told_when_the_source_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        await give(stage, 0)
        stage.tap.say(Gap(1, "the first"))
        stage.tap.say(Gap(2, "the second"))
        stage.tap.end()
        await until(lambda: len(notices(watcher)) == 2)
        assert "2 pictures" in notices(watcher)[1].text

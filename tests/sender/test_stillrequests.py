"""A frozen picture once more, lossless, beside the stream."""

from __future__ import annotations

import numpy as np
import pytest

from shared import control
from shared.codecs import open_decoder
from shared.frame import Rect
from shared.link.memory import MemoryLink
from tests.doubles import (
    picture,
    until,
)
from tests.sender.stage import Script, a_stage, frames_of, give, heard, say

pytestmark = pytest.mark.jumping_clock


async def test_a_still_is_the_masked_picture_lossless_and_no_part_of_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, codec="h264", masks=(Rect(0, 0, 20, 10),)) as stage:
        watcher = await stage.join("a")
        await give(stage, 0, 1)
        await frames_of(watcher, 2)
        say(watcher, control.StillRequest(index=0))
        metadata, payload = await watcher.opened()
        assert metadata.still and metadata.depends_on is None
        assert (metadata.index, metadata.codec, metadata.psnr_db) == (0, "lossless", None)
        expected = picture(0).copy()
        expected[:10, :20] = 0
        size = {"width": 57, "height": 41, "channels": 1}
        assert np.array_equal(open_decoder("lossless").decode(payload, **size), expected)
        await give(stage, 2)
        after = await watcher.frame()
        assert (after.index, after.depends_on) == (2, 1), "the still broke the chain"
        stage.session._audience._attendees["a"].tell_tally()
        await until(lambda: bool(heard(watcher, control.Tally)))
        tally = heard(watcher, control.Tally)[-1]
        assert tally == control.Tally(sent=3, dropped={})
        assert stage.journal.frames == 3


async def test_a_still_that_is_not_held_or_asked_for_too_soon_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sender.outbox.STILL_EVERY_NS", 10**15)
    async with a_stage(monkeypatch, codec="h264") as stage:
        watcher = await stage.join("a")
        await give(stage, 0)
        await watcher.frame()
        say(watcher, control.StillRequest(index=99))
        await until(lambda: bool(heard(watcher, control.StillUnavailable)))
        say(watcher, control.StillRequest(index=0))
        await until(lambda: len(heard(watcher, control.StillUnavailable)) == 2)
        refused = heard(watcher, control.StillUnavailable)
        assert refused == [control.StillUnavailable(index=i) for i in (99, 0)]


async def test_a_still_that_would_hold_up_the_stream_for_long_is_refused_and_the_person_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(2_000)
    monkeypatch.setattr(MemoryLink, "path", property(lambda _link: script.estimate()))
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        await give(stage, 0)
        await watcher.frame()
        say(watcher, control.StillRequest(index=0))
        await until(lambda: bool(heard(watcher, control.StillUnavailable)))
        [refused] = heard(watcher, control.StillUnavailable)
        assert isinstance(refused, control.StillUnavailable)
        assert refused.index == 0
        assert refused.detail.startswith("no exact picture: it would hold up the stream for")
        await give(stage, 1)
        assert not (await watcher.frame()).still

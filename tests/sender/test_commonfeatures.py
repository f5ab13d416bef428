"""A stream for receivers that can't all do the same."""

from __future__ import annotations

import pytest

from shared import control
from shared.capabilities import BROWSER, OUR_FEATURES, Capabilities
from shared.errors import NotSupported, PeerGone
from tests.doubles import until
from tests.sender.stage import a_stage, frames_of, give, heard, say


def without(*features: str) -> Capabilities:
    return Capabilities(OUR_FEATURES - set(features))


def only(*features: str) -> Capabilities:
    return Capabilities(frozenset(features))


async def test_the_stream_goes_over_to_a_codec_that_one_who_joins_has_and_all_are_told_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, codec="auto", max_receivers=2) as stage:
        first = await stage.join("a")
        await give(stage, 0)
        assert (await first.frame()).codec == "h264"
        second = await stage.join("b", capabilities=without("h264", "h264-444"))
        await give(stage, 1, 2)
        codecs = [[frame.codec for frame in await frames_of(each, 2)] for each in (first, second)]
        assert codecs == [["jpeg", "jpeg"], ["jpeg", "jpeg"]]
        await until(lambda: all(heard(each, control.QualityNotice) for each in (first, second)))
        (told,) = heard(second, control.QualityNotice)
        assert isinstance(told, control.QualityNotice)
        assert (told.codec, told.reason) == (
            "jpeg",
            "codec changed to jpeg: a receiver has no h264",
        )


async def test_one_that_shares_no_codec_with_those_who_watch_is_refused_and_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, codec="auto", max_receivers=2) as stage:
        first = await stage.join("a", capabilities=only("h264", "notices"))
        with pytest.raises((NotSupported, PeerGone)):  # whether it reads why before the link's end
            await stage.knock("b", stage.code(), only("jpeg", "notices"))
        await stage.said("could not join")
        await give(stage, 0)
        assert (await first.frame()).codec == "h264"
        third = await stage.join("c", capabilities=only("h264"))
        await give(stage, 1)
        assert (await third.frame()).index == 1


async def test_one_that_would_slow_the_others_down_is_refused_and_alone_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, codec="auto", max_receivers=2) as stage:
        first = await stage.join("a")
        with pytest.raises((NotSupported, PeerGone)):
            await stage.knock("b", stage.code(), only("lossless", "notices"))
        await stage.said("could not join")
        await give(stage, 0)
        assert (await first.frame()).codec == "h264"
    async with a_stage(monkeypatch, codec="auto", max_receivers=2) as stage:
        first = await stage.join("a", capabilities=only("lossless", "notices"))
        await give(stage, 0)
        assert (await first.frame()).codec == "lossless"


async def test_no_still_is_sent_to_one_that_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_stage(monkeypatch, codec="h264") as stage:
        watcher = await stage.join("a", capabilities=without("stills"))
        await give(stage, 0)
        await watcher.frame()
        say(watcher, control.StillRequest(index=0))
        await until(lambda: bool(heard(watcher, control.StillUnavailable)))
        await give(stage, 1)
        assert not (await watcher.frame()).still


async def test_the_sender_is_told_of_one_that_watches_in_a_browser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        await stage.join("a")
        await stage.join("b", capabilities=Capabilities(OUR_FEATURES, BROWSER))
        assert [line for line in stage.notices if "joined" in line] == [
            "a receiver joined",
            "a receiver joined: in a browser",
        ]

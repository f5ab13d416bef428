from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from receiver.sinks import SessionInfo, ShownFrame
from receiver.sinks.viewer import MESSAGE_NS, Asked, Still, Viewer
from shared.control import Notice
from shared.frame import Frame

MS = 1_000_000


def shown(index: int, *, psnr_db: float | None = 41.0) -> ShownFrame:
    frame = Frame(index, index * 33 * MS, np.full((4, 6), index, np.uint8))
    return ShownFrame(frame, bytes(24), 20.0, 0.5, psnr_db, 1, "jpeg", 30.0)


def looking_at(index: int, *, psnr_db: float | None = 41.0) -> Viewer:
    viewer = Viewer()
    assert viewer.arrived(shown(index, psnr_db=psnr_db), index * 33 * MS)
    return viewer


def index_of(viewer: Viewer) -> int | None:
    return None if viewer.current is None else viewer.current.frame.index


def test_before_the_pairing_nothing_is_said_of_encryption() -> None:
    viewer = Viewer()
    assert viewer.facts(0).keystream is None
    assert viewer.picture() is None
    viewer.paired(SessionInfo("ab12", "bp"))
    facts = viewer.facts(0)
    assert facts.keystream == "bp"
    assert "first picture" in facts.waiting


def test_a_frozen_picture_stays_and_the_next_one_is_seen_after_it() -> None:
    viewer = looking_at(1)
    assert viewer.press(" ") is Asked.STILL
    assert not viewer.arrived(shown(2), 66 * MS)
    assert index_of(viewer) == 1
    assert viewer.press(" ") is Asked.GO_ON
    assert viewer.arrived(shown(3), 99 * MS)
    assert index_of(viewer) == 3


def test_a_picture_that_is_lossless_already_is_not_asked_for_again() -> None:
    viewer = looking_at(1, psnr_db=None)
    assert viewer.press(" ") is None
    assert viewer.facts(0).still == "lossless"


def test_nothing_can_be_frozen_or_saved_before_the_first_picture() -> None:
    viewer = Viewer()
    assert viewer.press(" ") is None
    assert viewer.press("s") is None
    assert viewer.arrived(shown(0), 0)


def test_the_lossless_copy_takes_the_frozen_pictures_place_with_the_latency_of_the_stream() -> None:
    viewer = looking_at(1)
    viewer.press(" ")
    copy = replace(shown(1, psnr_db=None), latency_ms=900.0, latency_bound_ms=9.0)
    assert viewer.still_arrived(Still(1, copy))
    facts = viewer.facts(0)
    assert (facts.still, facts.psnr_db) == ("lossless", None)
    assert (facts.latency_ms, facts.latency_bound_ms) == (20.0, 0.5)


@pytest.mark.parametrize("index", [0, 2])
def test_a_lossless_copy_of_another_picture_is_not_shown(index: int) -> None:
    viewer = looking_at(1)
    viewer.press(" ")
    assert not viewer.still_arrived(Still(index, shown(index, psnr_db=None)))
    assert index_of(viewer) == 1
    assert viewer.facts(0).still == "fetching it lossless"


def test_a_lossless_copy_that_comes_after_the_person_went_on_is_not_shown() -> None:
    viewer = looking_at(1)
    viewer.press(" ")
    viewer.press(" ")
    assert not viewer.still_arrived(Still(1, shown(1, psnr_db=None)))
    assert viewer.facts(0).psnr_db == 41.0


def test_why_there_is_no_lossless_copy_is_said_of_it_and_not_of_the_quality() -> None:
    viewer = looking_at(1)
    viewer.quality_reason = "quality lowered: path 2.1 Mbit/s"
    viewer.press(" ")
    viewer.still_arrived(Still(1, None, "no exact picture: it would take 8 s"))
    facts = viewer.facts(0)
    assert facts.still == "no exact picture: it would take 8 s"
    assert facts.quality_reason == "quality lowered: path 2.1 Mbit/s"
    viewer.still_arrived(Still(1, None))
    assert viewer.facts(0).still == "no lossless copy to be had"


def test_the_sealed_bytes_are_shown_and_hidden() -> None:
    viewer = looking_at(5)
    viewer.press("e")
    sealed = viewer.picture()
    assert sealed is not None
    assert (sealed == 0).all()
    viewer.press("e")
    picture = viewer.picture()
    assert picture is not None
    assert (picture == 5).all()


def test_a_message_is_gone_after_its_time() -> None:
    viewer = looking_at(1)
    viewer.say("saved it", 1_000)
    assert viewer.facts(1_000 + MESSAGE_NS - 1).message == "saved it"
    assert viewer.facts(1_000 + MESSAGE_NS).message == ""


def test_the_age_is_that_of_the_picture_and_the_silence_that_since_the_last_one_came() -> None:
    viewer = looking_at(1)
    viewer.press(" ")
    viewer.arrived(shown(2), 66 * MS)
    facts = viewer.facts(133 * MS)
    assert facts.age_ms == pytest.approx(100)
    assert facts.silence_ms == pytest.approx(67)


def test_keys_that_mean_nothing_do_nothing() -> None:
    viewer = looking_at(1)
    before = viewer.facts(0)
    assert viewer.press("x") is None
    assert viewer.facts(0) == before
    assert viewer.press("q") is Asked.QUIT


def test_what_the_sender_told_that_lasts_stays_up_with_the_time_until_it_ends() -> None:
    viewer = looking_at(1)
    still = Notice(kind="source_still", text="it stands still", lasting=True, since_ns=0)
    viewer.noticed(still, 1000 * MS)
    hidden = Notice(kind="picture_hidden", text="it is hidden", lasting=True)
    viewer.noticed(hidden, 1000 * MS)
    banners = [viewer.facts(seconds * 1000 * MS).banners[0] for seconds in (12, 119, 150, 9000)]
    assert banners == [
        "it stands still since 12 s",
        "it stands still since 119 s",
        "it stands still since 2 min",
        "it stands still since 2 h",
    ]
    assert viewer.facts(0).banners[1] == "it is hidden"
    viewer.noticed(Notice(kind="source_still", text="it goes on"), 9000 * MS)
    facts = viewer.facts(9001 * MS)
    assert facts.banners == ("it is hidden",)
    assert facts.message == "it goes on"


def test_a_notice_is_seen_before_the_first_picture_too() -> None:
    viewer = Viewer()
    viewer.noticed(Notice(kind="source_lost", text="the camera is gone", lasting=True), 0)
    assert viewer.facts(0).banners == ("the camera is gone",)


def test_a_repeated_picture_ages_and_claims_no_latency() -> None:
    viewer = Viewer()
    frame = Frame(4, 0, np.zeros((4, 6), np.uint8), repeated=True)
    viewer.arrived(ShownFrame(frame, b"", 12_000.0, 0.5, None, 1, "jpeg", 30.0), 12_000 * MS)
    facts = viewer.facts(12_500 * MS)
    assert facts.age_ms == pytest.approx(12_500)
    assert facts.repeated
    assert not facts.stale

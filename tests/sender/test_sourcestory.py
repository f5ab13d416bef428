"""What both ends are told of a source beside its pictures."""

from __future__ import annotations

import numpy as np

from sender.stream import TELL_EVERY_NS, SourceStory
from shared.control import MAX_DETAIL_CHARS, Notice
from shared.frame import Frame, Gap

S = 1_000_000_000


def frame(*shape: int) -> Frame:
    return Frame(0, 0, np.zeros(shape, np.uint8))


def texts(notices: list[Notice]) -> list[str]:
    return [notice.text for notice in notices]


def test_a_source_s_own_notices_are_passed_on() -> None:
    lost = Notice(kind="source_lost", text="the camera is gone", lasting=True, since_ns=3)
    assert SourceStory().of(lost, 0) == [lost]


def test_a_damaged_picture_is_told_at_once_with_its_reason() -> None:
    (told,) = SourceStory().of(Gap(4, "the frame is cut short"), 0)
    assert told.kind == "picture_skipped"
    assert not told.lasting
    assert told.text == "a picture of the source is left out: the frame is cut short"


def test_many_damaged_pictures_are_told_every_few_seconds_with_their_number() -> None:
    story, told = SourceStory(), list[Notice]()
    for index in range(300):  # ten seconds
        told += story.of(Gap(index, "cut short"), index * S // 30)
    numbers = [text.partition(" ")[0] for text in texts(told)]
    assert numbers == ["a", "151"]


def test_the_last_damaged_pictures_are_told_of_with_the_next_good_one() -> None:
    story = SourceStory()
    story.of(Gap(0, "cut short"), 0)
    story.of(Gap(1, "cut short"), 1)
    assert story.of(frame(20, 30), S) == []
    told = story.of(frame(20, 30), TELL_EVERY_NS)
    assert texts(told) == ["2 pictures of the source so far are left out, the last: cut short"]
    assert story.of(frame(20, 30), 9 * TELL_EVERY_NS) == []


def test_a_reason_as_long_as_a_book_is_cut_to_a_line() -> None:
    (told,) = SourceStory().of(Gap(0, "x" * 10_000), 0)
    assert len(told.text) == MAX_DETAIL_CHARS


def test_a_change_of_size_or_colour_is_told_once_and_the_first_size_is_no_change() -> None:
    story, told = SourceStory(), list[Notice]()
    for shape in [(20, 30), (20, 30), (600, 800, 3), (600, 800, 3), (600, 800)]:
        told += story.of(frame(*shape), 0)
    assert texts(told) == ["the picture is 800x600 colour now", "the picture is 800x600 grey now"]
    assert {notice.kind for notice in told} == {"picture_changed"}


def test_what_was_left_out_last_is_told_at_the_end() -> None:
    story = SourceStory()
    for index in range(4):
        story.of(Gap(index, f"reason {index}"), index)
    assert texts(story.rest()) == [
        "4 pictures of the source so far are left out, the last: reason 3"
    ]
    assert story.rest() == []
    assert SourceStory().rest() == []


def test_a_picture_that_is_left_out_for_its_masks_is_not_called_damaged() -> None:
    (told,) = SourceStory().of(Gap(1, "it declares no regions to mask by"), 0)
    assert "damaged" not in told.text

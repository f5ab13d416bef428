"""The notices in force."""

from __future__ import annotations

from shared.control import Notice
from shared.noticeboard import MAX_KINDS, NoticeBoard


def lasting(kind: str, text: str = "x") -> Notice:
    return Notice(kind=kind, text=text, lasting=True)


def test_what_lasts_is_up_until_one_of_its_kind_comes_that_does_not() -> None:
    board = NoticeBoard()
    assert not board.take(lasting("source_still"))
    assert not board.take(Notice(kind="picture_changed", text="x"))
    assert [notice.kind for notice in board] == ["source_still"]
    assert board.take(Notice(kind="source_still", text="goes on"))
    assert list(board) == []
    assert not board.take(Notice(kind="source_still", text="goes on"))


def test_a_newer_one_takes_the_place_of_its_kind() -> None:
    board = NoticeBoard()
    for notice in (lasting("a", "1"), lasting("b", "2"), lasting("a", "3")):
        board.take(notice)
    assert [notice.text for notice in board] == ["3", "2"]


def test_however_many_kinds_come_a_few_are_kept_the_newest() -> None:
    board = NoticeBoard()
    for number in range(1000):
        board.take(lasting(f"kind_{number}"))
    assert [notice.kind for notice in board] == [f"kind_{n}" for n in range(1000 - MAX_KINDS, 1000)]

"""What a receiver is told of frames sent and not sent."""

from __future__ import annotations

from sender.outbox import Account
from shared import control
from shared.telemetry.records import DropReason


def test_totals_are_told_when_they_are_news() -> None:
    account = Account({})
    assert account.news({}) == control.Tally(sent=0, dropped={})
    assert account.news({}) is None
    account.sent()
    assert account.news({}) == control.Tally(sent=1, dropped={})


def test_what_was_dropped_before_it_joined_is_not_its_loss() -> None:
    account = Account({"link_busy": 4, "no_receiver": 9})
    tally = account.news({"link_busy": 6, "no_receiver": 9})
    assert tally == control.Tally(sent=0, dropped={"link_busy": 2})


def test_what_others_got_and_it_did_not_is_added() -> None:
    account = Account({})
    account.skipped(DropReason.LINK_BUSY)
    account.skipped(DropReason.MISSING_REFERENCE)
    tally = account.news({"link_busy": 1})
    assert tally == control.Tally(sent=0, dropped={"link_busy": 2, "missing_reference": 1})

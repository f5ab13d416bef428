"""What a person asks of `veilscope send` reaches what does it: no option is dropped on its way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from sender.playback.play import DEFAULT_TIMEOUT_S
from sender.preparation import MaskWishes, Prepared
from sender.settings import SenderSettings
from sender.sources import SourceInfo
from shared.errors import BadInput, SignalingUnreachable
from veilscope.cli import app

INFO = SourceInfo("double", 57, 41, 1, 25.0, 3, False)


class Closable:
    """A source, or its masking, of which the command needs no more than this."""

    info = INFO

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Sender:
    """Stands in for all that `send` calls, and keeps what it was called with."""

    def __init__(self, question: str | None) -> None:
        self.source, self.masking = Closable(), Closable()
        self.question = question
        self.prepared: dict[str, Any] | None = None
        self.played: dict[str, Any] | None = None
        self.settings: SenderSettings | None = None

    def prepare(self, spec: str, **options: Any) -> Prepared:
        self.prepared = {"spec": spec, **options}
        source: Any = self.source
        masking: Any = self.masking
        return Prepared(source, masking, (), 1.0, (), self.question)

    def play(self, source: object, **options: Any) -> AsyncIterator[None]:
        assert source is self.source
        assert options.pop("masking") is self.masking
        self.played = options
        return _nothing()

    def session(self, _frames: object, settings: SenderSettings, **_: Any) -> NoReturn:
        self.settings = settings
        raise SignalingUnreachable("far enough")


async def _nothing() -> AsyncIterator[None]:
    return
    yield


def send(
    monkeypatch: pytest.MonkeyPatch, *options: str, question: str | None = None
) -> tuple[Sender, BaseException | None]:
    """What `veilscope send` made of `options`, and how it ended."""
    sender = Sender(question)
    monkeypatch.setattr("sender.cli.prepare", sender.prepare)
    monkeypatch.setattr("sender.cli.play", sender.play)
    monkeypatch.setattr("sender.cli.SenderSession", sender.session)
    ended = CliRunner().invoke(app, ["send", "--source", "double", *options]).exception
    assert sender.source.closed
    assert sender.masking.closed
    return sender, ended


PLAIN = {"spec": "double", "size": None, "fps": None, "masks": MaskWishes()}


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {}),
        (["--mask-text"], {"masks": MaskWishes(text=True)}),
        (["--mask-auto"], {"masks": MaskWishes(auto=True)}),
        (
            ["--mask", "1,2,3,4", "--mask", "5,6,7,8"],
            {"masks": MaskWishes(("1,2,3,4", "5,6,7,8"))},
        ),
        (["--fps", "12.5"], {"fps": 12.5}),
        (["--size", "64x48"], {"size": "64x48"}),
    ],
)
def test_what_is_to_be_shown_and_hidden_is_asked_of_the_preparation(
    options: list[str], asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, ended = send(monkeypatch, *options)
    assert isinstance(ended, SignalingUnreachable)
    assert sender.prepared == PLAIN | asked


UNASKED = {"fps": None, "loop": False, "frames": None, "timeout_s": DEFAULT_TIMEOUT_S}


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {}),
        (["--fps", "12.5"], {"fps": 12.5}),
        (["--loop"], {"loop": True}),
        (["--frames", "7"], {"frames": 7}),
        (["--source-timeout", "2.5"], {"timeout_s": 2.5}),
        (["--source-timeout", "0"], {"timeout_s": 0.0}),
    ],
)
def test_how_it_is_to_be_played_is_asked_of_the_playback(
    options: list[str], asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, ended = send(monkeypatch, *options)
    assert isinstance(ended, SignalingUnreachable)
    assert sender.played == UNASKED | asked


@pytest.mark.parametrize(("options", "fps"), [([], INFO.fps), (["--fps", "12.5"], 12.5)])
def test_the_session_counts_on_the_rate_that_is_played(
    options: list[str], fps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, _ = send(monkeypatch, *options)
    assert sender.settings is not None
    assert sender.settings.fps == fps


def test_without_leave_nothing_is_played_and_with_it_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sender, ended = send(monkeypatch, question="text may be there")
    assert isinstance(ended, BadInput)
    assert sender.played is None
    sender, ended = send(monkeypatch, "--burned-in-ok", question="text may be there")
    assert isinstance(ended, SignalingUnreachable)
    assert sender.played == UNASKED

"""A source made ready: what is asked before it is sent, and what is told of its masks."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from sender.preparation import MaskWishes, prepare, share_text
from sender.sources import SourceInfo, SourcePicture
from sender.sources.geometry import Geometry
from shared.errors import BadInput, VeilscopeError
from shared.frame import Image, Rect

DECLARED = Rect(0, 0, 64, 12)
BURNED_IN = "the file says that text is burned into its pictures"


class Marked:
    """A source of one grey picture that declares masks, or that may hold burned-in text."""

    def __init__(
        self, masks: tuple[Rect, ...] = (), burned_in: str | None = None, block: int = 1
    ) -> None:
        image = np.full((48, 64), 90, np.uint8)
        self.first = SourcePicture(image, Geometry(64, 48, block=block), masks=masks)
        self.info = SourceInfo(
            "double", 64, 48, 1, 25.0, 1, live=False, remarks=("turned",), burned_in=burned_in
        )
        self.closed = 0

    def pictures(self) -> Iterator[SourcePicture]:
        yield self.first

    def close(self) -> None:
        self.closed += 1


class Letters:
    """A finder that sees letters where the test says, unless all of it is black."""

    def __init__(self, *boxes: Rect, error: Exception | None = None) -> None:
        self._boxes, self._error = boxes, error
        self.settle = lambda: None

    def find(self, image: Image) -> tuple[Rect, ...]:
        if self._error is not None:
            raise self._error
        return tuple(
            b for b in self._boxes if image[b.y : b.y + b.height, b.x : b.x + b.width].any()
        )


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> object:
    def opens(source: Marked, finder: Letters | None = None) -> Marked:
        def open_finder() -> Letters:
            if finder is None:
                raise BadInput("the extra is missing", hint="pip install 'veilscope[text]'")
            return finder

        monkeypatch.setattr("sender.preparation.open_source", lambda *_, **__: source)
        monkeypatch.setattr("sender.preparation._open_finder", open_finder)
        return source

    return opens


DRAWN = ("5,20,10,10",)


@pytest.mark.parametrize(
    ("wishes", "declared", "burned_in"),
    list(
        itertools.product(
            [
                MaskWishes(),
                MaskWishes(DRAWN),
                MaskWishes(auto=True),
                MaskWishes(text=True),
                MaskWishes(DRAWN, auto=True, text=True),
            ],
            [(), (DECLARED,)],
            [None, BURNED_IN],
        )
    ),
)
def test_leave_is_asked_for_burned_in_text_where_nothing_is_masked(
    wishes: MaskWishes, declared: tuple[Rect, ...], burned_in: str | None, opens: object
) -> None:
    opens(Marked(declared, burned_in), Letters())  # type: ignore[operator]
    if wishes == MaskWishes(auto=True) and not declared:
        with pytest.raises(BadInput, match="would hide nothing"):
            prepare("double", masks=wishes)
        return
    prepared = prepare("double", masks=wishes)
    asked = burned_in is not None and not wishes.rects and not declared
    assert (prepared.question is not None) == asked
    if asked:
        with pytest.raises(BadInput, match=BURNED_IN) as caught:
            prepared.check_leave(given=False)
        assert caught.value.exit_status == 2
        for option in ("--burned-in-ok", "--mask", "--mask-auto", "--mask-text", "preview"):
            assert option in caught.value.hint
        assert any("by leave" in line for line in prepared.told)
    else:
        prepared.check_leave(given=False)
        assert prepared.told == prepared.lines
    prepared.check_leave(given=True)
    prepared.close()


def test_looking_for_letters_counts_where_some_were_found(opens: object) -> None:
    wishes = MaskWishes(text=True)
    opens(Marked(burned_in=BURNED_IN), Letters(Rect(10, 30, 20, 8)))  # type: ignore[operator]
    assert prepare("double", masks=wishes).question is None
    opens(Marked(burned_in=BURNED_IN), Letters())  # type: ignore[operator]
    question = prepare("double", masks=wishes).question
    assert question is not None
    assert BURNED_IN in question and "no letters were found" in question


@pytest.mark.parametrize(
    ("rects", "hides"),
    [
        (("0,0,64,1",), False),
        (("0,0,3,48", "61,0,3,48"), False),
        (("3,3,2,2",), False),
        (("0,0,20,4",), True),
        (("0,0,64,1", "0,40,8,8"), True),
    ],
)
def test_masks_that_hide_no_letter_are_no_answer_to_burned_in_text(
    rects: tuple[str, ...], hides: bool, opens: object
) -> None:
    opens(Marked(burned_in=BURNED_IN))  # type: ignore[operator]
    prepared = prepare("double", masks=MaskWishes(rects))
    assert (prepared.question is None) == hides
    prepared.check_leave(given=True)
    if not hides:
        with pytest.raises(BadInput, match="too narrow"):
            prepared.check_leave(given=False)


def test_the_person_is_told_what_stays_and_what_the_source_had_to_do(opens: object) -> None:
    opens(Marked((DECLARED,)))  # type: ignore[operator]
    assert prepare("double").lines == ("turned", "75 % of the picture stays visible")


@pytest.mark.parametrize(("block", "told"), [(1, False), (16, True)])
def test_it_is_said_where_masks_were_grown(block: int, told: bool, opens: object) -> None:
    opens(Marked(block=block))  # type: ignore[operator]
    lines = prepare("double", masks=MaskWishes(("1,1,2,2",))).lines
    assert any("grown to the source's 16x16 blocks" in line for line in lines) == told
    kept = 1 - (16 * 16 if told else 4) / (64 * 48)
    assert f"{round(100 * kept)} %" in " ".join(lines) or kept > 0.995
    assert not any("grown" in line for line in prepare("double").lines)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (1.0, "100 %"),
        (0.9999, "more than 99 %"),
        (0.614, "61 %"),
        (0.001, "less than 1 %"),
        (0.0, "0 %"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(kept: float, words: str) -> None:
    assert share_text(kept) == words


def test_text_in_the_first_picture_is_hidden_before_pairing(opens: object) -> None:
    box = Rect(10, 30, 20, 8)
    opens(Marked(), Letters(box))  # type: ignore[operator]
    prepared = prepare("double", masks=MaskWishes(text=True))
    assert prepared.masks == (box,)
    assert "text was found in 1 place of the first picture" in prepared.lines[-1]
    prepared.close()


def test_text_that_is_hidden_anyhow_is_not_counted(opens: object) -> None:
    opens(Marked((DECLARED,)), Letters(Rect(2, 2, 20, 8), Rect(2, 30, 20, 8)))  # type: ignore[operator]
    lines = prepare("double", masks=MaskWishes(text=True)).lines
    assert "in 1 place of the first picture" in lines[-1]


def test_that_no_text_was_found_is_said(opens: object) -> None:
    opens(Marked(), Letters())  # type: ignore[operator]
    assert "no more text was found" in prepare("double", masks=MaskWishes(text=True)).lines[-1]


def test_masking_text_without_the_extra_is_refused(opens: object) -> None:
    source = opens(Marked())  # type: ignore[operator]
    with pytest.raises(BadInput) as caught:
        prepare("double", masks=MaskWishes(text=True))
    assert "veilscope[text]" in caught.value.hint
    assert source.closed == 0  # it was not opened yet


def test_the_real_finder_is_asked_for_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BadInput) as caught:
        prepare("phantom:ultrasound", size="64x48", masks=MaskWishes(text=True))
    assert "text" in caught.value.hint


def test_a_finder_that_fails_on_the_first_picture_is_told_without_its_text(opens: object) -> None:
    source = opens(Marked(), Letters(error=RuntimeError("DOE JANE")))  # type: ignore[operator]
    with pytest.raises(VeilscopeError, match="RuntimeError") as caught:
        prepare("double", masks=MaskWishes(text=True))
    assert "DOE" not in str(caught.value)
    assert source.closed == 1


def test_masking_by_regions_recommends_to_mask_text_where_letters_remain(opens: object) -> None:
    remain, covered = Rect(10, 30, 20, 8), Rect(2, 2, 20, 8)
    opens(Marked((DECLARED,)), Letters(remain, covered))  # type: ignore[operator]
    lines = prepare("double", masks=MaskWishes(auto=True)).lines
    assert lines[-1] == "letters seem to remain in 1 place: --mask-text hides them"
    assert not any("letters" in line for line in prepare("double").lines)
    assert any("letters" in line for line in prepare("double", preview=True).lines)


@pytest.mark.parametrize(
    "finder", [None, Letters(Rect(2, 2, 20, 8)), Letters(error=RuntimeError())]
)
def test_nothing_is_recommended_where_none_remain_or_none_can_be_looked_for(
    finder: Letters | None, opens: object
) -> None:
    opens(Marked((DECLARED,)), finder)  # type: ignore[operator]
    lines = prepare("double", masks=MaskWishes(auto=True)).lines
    assert not any("letters" in line for line in lines)


@pytest.mark.parametrize("rect", ["64,0,5,5", "0,48,64,10", "1,2,3"])
def test_a_mask_that_would_hide_nothing_closes_the_source_and_says_so(
    rect: str, opens: object
) -> None:
    source = opens(Marked())  # type: ignore[operator]
    with pytest.raises(BadInput, match=r"would hide nothing|four whole numbers"):
        prepare("double", masks=MaskWishes((rect,)))
    assert source.closed == (rect != "1,2,3")

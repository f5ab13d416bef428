"""A source made ready to be shown: opened, masked, and all that can be checked checked.

What `send` and `preview` share, so that the one shows what the other sends.  Everything here
happens before a code is made: a mask that would hide nothing, a source that can't be opened, text
that nobody looked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sender.masks.masking import Masking
from sender.masks.rectangles import apply_masks, parse_rect, share_hidden
from sender.masks.textwatch import NEWS, FindText, TextWatch
from sender.sourceoptions import BURNED_IN_OK
from sender.sources import Source, SourcePicture, open_source
from shared.errors import BadInput, VeilscopeError
from shared.frame import Rect
from shared.options import parse_size

__all__ = ["MaskWishes", "Prepared", "prepare", "share_text"]


LETTER = 4  # pixels: what is less high or wide hides no letter that a person could read


@dataclass(frozen=True, slots=True)
class MaskWishes:
    """What a person asked to have hidden: rectangles ("x,y,w,h"), what the file declares, text."""

    rects: tuple[str, ...] = ()
    auto: bool = False
    text: bool = False

    @property
    def any(self) -> bool:
        return bool(self.rects or self.auto or self.text)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A source with what is hidden of it.

    `masks` are those of its first picture, of which the share `kept` stays visible.  `lines` say
    what a person should know of it.  `question` is why it is not sent without leave, None where it
    is: a line for the person.
    """

    source: Source
    masking: Masking
    masks: tuple[Rect, ...]
    kept: float
    lines: tuple[str, ...]
    question: str | None

    @property
    def told(self) -> tuple[str, ...]:
        """What the log keeps, of a source that is sent."""
        if self.question is None:
            return self.lines
        return (*self.lines, f"sent by leave: {self.question}")

    def check_leave(self, given: bool) -> None:
        """Raise `BadInput` where a picture is not sent without leave and none is `given`."""
        if self.question is not None and not given:
            raise BadInput(
                f"this is not sent without a mask or leave: {self.question}",
                hint="look at it with veilscope preview; hide text with --mask, --mask-auto or "
                f"--mask-text, or send it as it is with {BURNED_IN_OK}",
            )

    def close(self) -> None:
        self.masking.close()
        self.source.close()


def prepare(
    spec: str,
    *,
    size: str | None = None,
    fps: float | None = None,
    masks: MaskWishes | None = None,
    preview: bool = False,
) -> Prepared:
    """Open the source that `spec` names and make its masks; blocks.

    `size` is "WIDTHxHEIGHT".  For a `preview` text is looked for only in the first picture and in
    those that are needed.  Raises `BadInput` for options that make no sense and for a mask that
    would hide nothing, `SourceFailed` for a source that can't be opened.
    """
    wishes = masks or MaskWishes()
    rects = tuple(parse_rect(text) for text in wishes.rects)
    finder = _open_finder() if wishes.text else None
    source = open_source(spec, size=parse_size(size), fps=fps, mask_auto=wishes.auto)
    try:
        text = None if finder is None else _watch(finder, source.first, needed_only=preview)
        return _prepared(source, Masking(source.first, rects, text=text), wishes, text, preview)
    except BaseException:
        source.close()
        raise


def share_text(kept: float) -> str:
    """A share from 0 to 1 in words; "0 %" and "100 %" are said only where they are true."""
    percent = round(100 * kept)
    if percent == 0 and kept > 0:
        return "less than 1 %"
    if percent == 100 and kept < 1:
        return "more than 99 %"
    return f"{percent} %"


@dataclass(frozen=True, slots=True)
class _Finder:
    find: FindText
    settle: Callable[[], None]


def _open_finder() -> _Finder:
    """Raises `BadInput` where the extra `text` is missing."""
    from sender.masks.textfinder import TextFinder, yield_to_others  # loads onnxruntime

    return _Finder(TextFinder().find, yield_to_others)


def _watch(finder: _Finder, first: SourcePicture, *, needed_only: bool) -> TextWatch:
    try:
        return TextWatch(finder.find, first, needed_only=needed_only, settle=finder.settle)
    except VeilscopeError:
        raise
    except Exception as error:  # whatever the detector raises; its text is not ours
        raise BadInput(
            f"text can't be looked for in the first picture ({type(error).__name__})",
            hint="give the regions to hide with --mask x,y,w,h",
        ) from None


def _prepared(
    source: Source,
    masking: Masking,
    wishes: MaskWishes,
    text: TextWatch | None,
    preview: bool,
) -> Prepared:
    first, info, masks = source.first, source.info, masking.first_masks
    if (wishes.rects or wishes.auto) and not masks:
        raise BadInput(
            "the masks would hide nothing of the picture",
            hint="give the regions to hide with --mask x,y,w,h, or have letters found with "
            "--mask-text",
        )
    kept = 1 - share_hidden(masks, Rect(0, 0, *first.geometry.shown_size))
    lines = [*info.remarks, f"{share_text(kept)} of the picture stays visible"]
    side, reach = first.geometry.block, first.geometry.reach
    # What a source hides by itself, such as the demo, it has measured.
    if masks and side > 1 and (wishes.rects or wishes.auto or wishes.text):
        further = f" and {reach} pixels further" if reach else ""
        lines.append(
            f"masks grown to the source's {side}x{side} blocks{further}, where compression carried "
            "traces of what they cover"
        )
    if text is not None:
        others = masking.first_masks_but_text
        found = sum(share_hidden(others, box) < NEWS for box in text.boxes)
        lines.append(_found_text(found, preview))
    elif wishes.auto or preview:
        lines += _recommendation(first, masks)
    question = info.burned_in and _question(info.burned_in, wishes, masks)
    return Prepared(source, masking, masks, kept, tuple(lines), question)


def _question(why: str, wishes: MaskWishes, masks: tuple[Rect, ...]) -> str | None:
    """Why pictures that may hold text (`why`) need leave; None where something is hidden of them.

    Masks count as they fall on the first picture, which a person can look at: an option alone hides
    nothing, be it that no letters were found or that the declared regions keep nearly all.  What
    the source itself hides counts, as somebody has looked at its pictures.
    """
    if any(min(mask.width, mask.height) >= LETTER for mask in masks):
        return None
    if masks:
        return f"{why}, and the masks are too narrow to hide a letter"
    if wishes.text:
        return f"{why}, and no letters were found in the first one"
    return why


def _found_text(places: int, preview: bool) -> str:
    what = f"text was found in {_places(places)} of" if places else "no more text was found in"
    others = (
        "letters are looked for in the pictures drawn here only"
        if preview
        else "the next ones are looked at as they come"
    )
    return f"{what} the first picture; {others}"


def _recommendation(first: SourcePicture, masks: tuple[Rect, ...]) -> list[str]:
    """A line where letters remain in what is kept; none where they can't be looked for."""
    try:
        found = _open_finder().find(apply_masks(first.image, masks))
    except Exception:  # it is a service, and must not keep a picture from being shown
        return []
    left = sum(share_hidden(masks, box) < NEWS for box in found)
    return [f"letters seem to remain in {_places(left)}: --mask-text hides them"] if left else []


def _places(count: int) -> str:
    return f"{count} place" if count == 1 else f"{count} places"

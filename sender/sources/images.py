"""Still pictures: a folder of them, in the natural order of their names (2 before 10), or one file.

Takes every format of `sender.sources.pictures.formats`; the pages of a TIFF and the frames of an
animation are pictures of their own.  Sizes, grey and colour may be mixed.  An animation that is the
whole source plays at its own times, all else evenly.  What can't be shown is skipped and told.  It
does not look into folders below.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sender.sources.dicom.file import is_dicom
from sender.sources.ordering import natural_order
from sender.sources.pictures import (
    SUFFIXES,
    PageHeader,
    StillPage,
    is_picture,
    page_headers,
    pages,
)
from sender.sources.source import Skipped, SourceInfo, SourcePicture, checked_fps
from shared.errors import SourceFailed

__all__ = ["ImagesSource", "is_picture"]

_LOOKED_AT = 2000  # files whose headers are read before pairing, which takes a second or two
_LAST_PAGES = 16  # how many pages the last file may have for its last one to be read at opening

# What a file's name ends with may be part of a person's name: only these are said.
_SAYABLE = frozenset(
    {".avi", ".csv", ".db", ".dcm", ".doc", ".docx", ".eps", ".hdr", ".htm", ".html", ".ini"}
    | {".json", ".log", ".mat", ".mha", ".mhd", ".mkv", ".mov", ".mp4", ".mpg", ".nii", ".npy"}
    | {".npz", ".nrrd", ".pdf", ".raw", ".svg", ".txt", ".wmf", ".xls", ".xlsx", ".xml", ".zip"}
)


class ImagesSource:
    """The pictures in one folder, or in one file; see `sender.sources.source.Source`."""

    def __init__(self, path: str | Path, *, fps: float | None = None) -> None:
        checked_fps(fps)
        listing = _Listing.of(Path(path))
        self._paths = listing.paths
        first, passed_over = _first_shown(self._paths)
        self._timed = fps is None and len(self._paths) == 1 and first.shown_s is not None
        self.first = _shown(first, 0.0 if self._timed else None)
        headers = _headers(self._paths[:_LOOKED_AT])
        all_known = len(self._paths) <= _LOOKED_AT
        image = self.first.image
        self.info = SourceInfo(
            kind="images",
            width=int(image.shape[1]),
            height=int(image.shape[0]),
            channels=1 if image.ndim == 2 else 3,
            fps=checked_fps(fps, 1.0 / first.shown_s if self._timed and first.shown_s else None),
            # A file that can't be opened takes the place of one picture.
            frame_count=sum(len(found) or 1 for found in headers) if all_known else None,
            live=False,
            remarks=(
                *listing.remarks(),
                *_remarks(headers),
                *passed_over,
                *self._remarks_on_the_last(headers),
            ),
        )

    def pictures(self) -> Iterator[SourcePicture | Skipped]:
        at_s = 0.0
        for ordinal, page in enumerate(_pages(self._paths)):
            if isinstance(page, SourceFailed):
                yield Skipped(f"picture {ordinal} can't be shown: {page}")
            else:
                yield _shown(page, at_s if self._timed else None)
                at_s += page.shown_s or 0.0

    def close(self) -> None:
        """Nothing is held open between passes."""

    def _remarks_on_the_last(self, headers: Sequence[Sequence[PageHeader]]) -> Iterator[str]:
        if len(self._paths) > _LOOKED_AT:
            yield f"only the first {_LOOKED_AT} files were looked at beforehand"
        elif len(headers[-1]) > _LAST_PAGES:
            return
        *_others, last = pages(self._paths[-1])
        if isinstance(last, SourceFailed):
            yield f"the last picture can't be shown: {last}"


@dataclass(frozen=True, slots=True)
class _Listing:
    """The files of pictures in their order, and what lies beside them."""

    paths: Sequence[Path]
    others: Counter[str]  # by what their names end with
    folders: int
    dicom: int = 0

    @classmethod
    def of(cls, path: Path) -> _Listing:
        try:
            if path.is_file():
                return cls((path,), Counter(), 0)
            # Names that begin with a dot are what other systems leave behind.
            entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
            files = [entry for entry in entries if entry.is_file()]
            folders = sum(entry.is_dir() for entry in entries)
        except OSError:
            raise SourceFailed(
                "the folder of pictures can't be found or read",
                hint="check the path and its permissions",
            ) from None
        paths = [file for file in files if _is_taken(file)]
        if not paths:
            raise SourceFailed(
                "the folder holds no picture",
                hint="it may hold PNG, JPEG, TIFF, WebP, GIF, BMP, JPEG 2000, AVIF, and others",
            )
        others = set(files) - set(paths)
        dicom = {file for file in others if is_dicom(file)}
        suffixes = Counter(file.suffix.lower() for file in others - dicom)
        paths = sorted(paths, key=lambda file: natural_order(file.name))
        return cls(paths, suffixes, folders, len(dicom))

    def remarks(self) -> Iterator[str]:
        if self.dicom:
            them = "it" if self.dicom == 1 else "them"
            files = _counted(self.dicom, "DICOM file", "DICOM files")
            yield f"{files} passed over: dicom:FOLDER plays {them}"
        if self.others:
            kinds: Counter[str] = Counter()
            for suffix, number in self.others.items():
                kinds[suffix if suffix in _SAYABLE else "of other kinds"] += number
            said = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
            files = _counted(self.others.total(), "file", "files")
            yield f"{files} passed over, as they are no pictures: {said}"
        if self.folders:
            yield f"{_counted(self.folders, 'folder', 'folders')} inside not looked into"


def _is_taken(file: Path) -> bool:
    """By its suffix, even if it is damaged; without one, by its content."""
    return file.suffix.lower() in SUFFIXES or is_picture(file)


def _pages(paths: Iterable[Path]) -> Iterator[StillPage | SourceFailed]:
    for path in paths:
        yield from pages(path)


def _shown(page: StillPage, at_s: float | None) -> SourcePicture:
    return SourcePicture(page.geometry.shown(page.stored), page.geometry, at_s)


def _first_shown(paths: Sequence[Path]) -> tuple[StillPage, tuple[str, ...]]:
    """The first picture that can be shown, and why the very first can't, if it can't.

    Raises `SourceFailed` where none can.
    """
    whys: list[str] = []
    for ordinal, page in enumerate(_pages(paths)):
        if isinstance(page, StillPage):
            return page, tuple(f"picture 0 can't be shown: {why}" for why in whys[:1])
        if ordinal == 0:
            whys.append(str(page))
    raise SourceFailed(
        f"none of the source's pictures can be shown; picture 0: {whys[0] if whys else 'missing'}",
        hint="save them anew as PNG, with 16 to 4096 pixels a side",
    )


def _headers(paths: Iterable[Path]) -> list[list[PageHeader]]:
    """The headers of each file's pictures; of a file that can't be opened, none."""
    found = []
    for path in paths:
        try:
            found.append(page_headers(path))
        except SourceFailed:
            found.append([])
    return found


def _remarks(files: Sequence[Sequence[PageHeader]]) -> Iterator[str]:
    """What a person should know of the pictures before they go out."""
    headers = [header for file in files for header in file]
    damaged = sum(not file for file in files)
    if damaged:
        yield f"{_counted(damaged, 'file', 'files')} that can't be opened, skipped"
    paged = sum(len(file) > 1 for file in files)
    if paged:
        yield f"{_counted(paged, 'file', 'files')} with several pages, each shown as a picture"
    sizes = len({header.size for header in headers})
    if sizes > 1:
        yield f"{sizes} sizes of pictures: the stream begins anew wherever the size changes"
    if len({header.grey for header in headers}) > 1:
        yield "grey pictures and ones in colour: the stream begins anew at each change"
    for what, applies in (
        ("turned or mirrored, as they say (EXIF)", [header.turned for header in headers]),
        ("stretched, for square pixels", [header.stretched for header in headers]),
        ("of more than 8 bits, scaled to 8", [header.deep for header in headers]),
        (
            "with transparency, laid over black",
            [header.transparent for header in headers],
        ),
        ("in printing inks (CMYK), shown roughly", [header.printing for header in headers]),
        ("with a colour profile, not applied", [header.profiled for header in headers]),
    ):
        if any(applies):
            yield f"{_counted(sum(applies), 'picture', 'pictures')} {what}"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"

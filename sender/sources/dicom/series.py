"""A folder of DICOM files as one source: the instances of a series, in their order.

Instances are ordered by InstanceNumber, then by their position along the normal of the slices, then
by the names of their files; those of several pictures are played one after the other.  Of a folder
that holds several series the largest is played.  Every picture carries its own instance's masks,
and an instance that can't be shown, or not without what must be hidden, is a gap that says why.

It does not look into folders below, and needs no DICOMDIR.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from sender.sources.ahead import ahead
from sender.sources.dicom.clip import DicomClip, open_clip
from sender.sources.dicom.elements import numbers, raw, whole, word
from sender.sources.dicom.file import DicomFile, NoPicture, is_dicom, open_dicom
from sender.sources.dicom.frames import frames_in
from sender.sources.dicom.instance import Instance
from sender.sources.dicom.presentation import burned_in
from sender.sources.dicom.samples import Samples
from sender.sources.dicom.timing import frame_rate
from sender.sources.dicom.uncompressed import Layout
from sender.sources.dicom.video import is_video
from sender.sources.ordering import NaturalOrder, natural_order
from sender.sources.pictures.formats import SUFFIXES as PICTURES
from sender.sources.source import Reading, Skipped, SourceInfo, SourcePicture, checked_fps
from shared.errors import SourceFailed, VeilscopeError

__all__ = ["DicomSeries", "is_series"]

MAX_FILES = 20_000  # of a folder; each is looked at, at a millisecond or two
MAX_TRIED = 1000  # instances looked through for one that can be shown

_LAST = 1 << 32  # after every InstanceNumber (IS, 32 bits)


@dataclass(frozen=True, slots=True)
class _Member:
    """What is known of one instance, by its header.

    `count` is None for a video: only its stream knows.  `fault` is why it can't be shown, as far as
    that is known without decoding; such a one takes the place of one picture.  `size` is in pixels
    as they are stored.
    """

    path: Path
    series: str
    number: int
    position: float
    name: NaturalOrder
    count: int | None
    fault: str | None
    still: bool
    size: tuple[int | None, int | None]
    grey: bool
    fps: float | None
    burned_in: str | None

    @classmethod
    def of(cls, path: Path) -> _Member:
        """Raises `SourceFailed` for what has no place in a series, `NoPicture` among it."""
        file = open_dicom(path)
        try:
            still = not is_video(file)
            count, fault = _counted(file) if still else (None, None)
            number = whole(file.header, "InstanceNumber")
            return cls(
                path=path,
                series=str(raw(file.header, "SeriesInstanceUID") or ""),
                number=_LAST if number is None else number,
                position=_position(file.header),
                name=natural_order(path.name),
                count=count,
                fault=fault,
                still=still,
                size=(whole(file.header, "Columns"), whole(file.header, "Rows")),
                grey=word(file.header, "PhotometricInterpretation").startswith("MONOCHROME"),
                fps=frame_rate(file.header),
                burned_in=burned_in(file.header),
            )
        finally:
            file.close()

    @property
    def order(self) -> tuple[object, ...]:
        return self.number, self.position, self.name


class DicomSeries:
    """The instances in one folder; see `sender.sources.source.Source`.

    With `mask_auto`, each picture's `masks` cover all that lies outside of its own instance's image
    regions; `BadInput` is raised where no instance declares any.
    """

    def __init__(
        self, folder: str | Path, *, fps: float | None = None, mask_auto: bool = False
    ) -> None:
        checked_fps(fps)
        self._mask_auto = mask_auto
        self._members, remarks = _listed(Path(folder))
        self._numbers = {member.path: n for n, member in enumerate(self._members)}
        self._sampling = threading.Lock()
        self._sampled: list[Samples] | None = None
        self.first, of_first = self._first_good()
        counts = [member.count for member in self._members]
        image = self.first.image
        self.info = SourceInfo(
            kind="dicom",
            width=int(image.shape[1]),
            height=int(image.shape[0]),
            channels=1 if image.ndim == 2 else 3,
            fps=checked_fps(fps, self._members[0].fps),
            frame_count=sum(c or 0 for c in counts) if None not in counts else None,
            live=False,
            remarks=(*remarks, *_remarks(self._members), *of_first, *self._faults()),
            burned_in=next((m.burned_in for m in self._members if m.burned_in), None),
        )

    def pictures(self) -> Iterator[Reading]:
        for single, members in groupby(self._members, lambda m: m.still and m.count == 1):
            if single:
                yield from ahead(self._only_picture, members, nbytes=_nbytes)
            else:
                for member in members:
                    yield from self._all_pictures(member)

    def close(self) -> None:
        """Nothing is held open between pictures."""

    def _open(self, member: _Member) -> DicomClip:
        return open_clip(member.path, mask_auto=self._mask_auto, sampled=self._sample_frames)

    def _first_good(self) -> tuple[SourcePicture, tuple[str, ...]]:
        failed: VeilscopeError | None = None
        for member in self._members[:MAX_TRIED]:
            try:
                clip = self._open(member)
                try:
                    return replace(clip.first_good(), at_s=None), clip.remarks
                finally:
                    clip.close()
            except VeilscopeError as error:
                failed = failed or error
        raise failed or SourceFailed("the series holds no picture")

    def _faults(self) -> Iterator[str]:
        """Why the first or the last instance can't be shown, beyond what their headers tell."""
        last = len(self._members) - 1
        for at in sorted({0, last}):
            member = self._members[at]
            if not member.fault and member.still and member.count == 1:
                reading = self._only_picture(member)
                if isinstance(reading, Skipped):
                    yield reading.why

    def _only_picture(self, member: _Member) -> Reading:
        return next(self._all_pictures(member))

    def _all_pictures(self, member: _Member) -> Iterator[Reading]:
        where = f"instance {self._numbers[member.path]} of the series"
        try:
            clip = self._open(member)
        except VeilscopeError as error:
            yield Skipped(f"{where}: {error}")
            return
        try:
            # One picture is decoded by the thread that opened its file.
            one = [clip.picture(0)] if isinstance(clip, Instance) and clip.count == 1 else None
            for reading in one or clip.pictures():
                if isinstance(reading, SourcePicture):
                    yield replace(reading, at_s=None)
                elif isinstance(reading, Skipped):
                    yield Skipped(f"{where}: {reading.why}")
                else:
                    yield reading
        except VeilscopeError as error:
            yield Skipped(f"{where}: {error}")
        finally:
            clip.close()

    def _sample_frames(self) -> list[Samples]:
        """Frames from all over the series: its brightness shall not jump between instances."""
        with self._sampling:
            if self._sampled is None:
                self._sampled = list(self._sample_members())
            return self._sampled

    def _sample_members(self) -> Iterator[Samples]:
        last = len(self._members) - 1
        for at in sorted({0, last // 2, last}):
            # What fails here is a gap when its turn comes, which says why.
            with suppress(Exception), closing(open_dicom(self._members[at].path)) as file:
                yield from list(Instance(file).sample_frames())[:1]


def is_series(folder: Path) -> bool:
    """Whether the folder holds DICOM files, and more of them than of other pictures.

    Raises `OSError` where it can't be read.
    """
    files = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    others = [file for file in files if file.suffix.lower() not in PICTURES]
    pictures = len(files) - len(others)
    # A directory of other files is DICOM, but no picture (PS3.10 8).
    return sum(is_dicom(file) for file in others if file.name.upper() != "DICOMDIR") > pictures


def _listed(folder: Path) -> tuple[list[_Member], tuple[str, ...]]:
    """Return the members of the folder's largest series in order, and remarks on the rest."""
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
        files = sorted((e for e in entries if e.is_file()), key=lambda e: natural_order(e.name))
    except OSError:
        raise SourceFailed(
            "the folder of DICOM files can't be found or read",
            hint="check the path and its permissions",
        ) from None
    if len(files) > MAX_FILES:
        raise SourceFailed(f"the folder holds more than {MAX_FILES} files")
    members: list[_Member] = []
    faults: list[str] = []
    without = 0
    pictures: Counter[str] = Counter()
    for file in files:
        try:
            members.append(_Member.of(file))
        except NoPicture as error:
            without += 1
            why = str(error)
        except Exception as error:  # pydicom parses values as they are asked for
            if is_dicom(file):
                said = str(error) if isinstance(error, VeilscopeError) else type(error).__name__
                faults.append(said)
            elif file.suffix.lower() in PICTURES:
                pictures[file.suffix.lower()] += 1
    if not members:
        why = faults[0] if faults else why if without else ""
        raise SourceFailed(f"the folder holds no DICOM picture{f': {why}' if why else ''}")
    by_series: dict[str, list[_Member]] = {}
    for member in members:
        by_series.setdefault(member.series, []).append(member)
    chosen = max(by_series.values(), key=len)
    remarks = []
    if others := pictures.total():
        said = ", ".join(f"{count} {suffix}" for suffix, count in sorted(pictures.items()))
        them = "it" if others == 1 else "them"
        remarks.append(
            f"{_files(others)} of other pictures passed over ({said}): images:FOLDER plays {them}"
        )
    if faults:
        remarks.append(f"{_files(len(faults))} of DICOM passed over, as not readable: {faults[0]}")
    if others := len(files) - len(members) - len(faults) - others:
        remarks.append(f"{_files(others)} in the folder passed over: no DICOM picture in them")
    if others := len(members) - len(chosen):
        remarks.append(f"{_files(others)} of other series in the folder passed over")
    return sorted(chosen, key=lambda member: member.order), tuple(remarks)


def _counted(file: DicomFile) -> tuple[int, str | None]:
    """How many still pictures a file has room for; of one that can't be shown 1, and why."""
    try:
        layout = Layout.of(file.header, keyword=file.keyword, big_endian=file.big_endian)
        return frames_in(file, layout).count, None
    except SourceFailed as error:
        return 1, str(error)


def _remarks(members: Sequence[_Member]) -> Iterator[str]:
    """What a person should know of the pictures before they go out."""
    faults = [member.fault for member in members if member.fault]
    if faults:
        instances = "instance" if len(faults) == 1 else "instances"
        yield f"{len(faults)} {instances} of the series can't be shown: {faults[0]}"
    good = [member for member in members if not member.fault]
    if (sizes := len({member.size for member in good})) > 1:
        yield f"{sizes} sizes of pictures: the stream begins anew wherever the size changes"
    if len({member.grey for member in good}) > 1:
        yield "grey pictures and ones in colour: the stream begins anew at each change"


def _files(count: int) -> str:
    return f"{count} file{'s' if count > 1 else ''}"


def _position(header: Dataset) -> float:
    """Where a slice lies along the normal of its plane (C.7.6.2.1.1), else by SliceLocation."""
    orientation = numbers(header, "ImageOrientationPatient")
    position = numbers(header, "ImagePositionPatient")
    if len(orientation) == 6 and len(position) == 3:
        normal = np.cross(orientation[:3], orientation[3:])
        along = float(normal @ np.array(position))
        if np.isfinite(along):
            return along
    location = numbers(header, "SliceLocation")
    return location[0] if location and np.isfinite(location[0]) else 0.0


def _nbytes(reading: Reading) -> int:
    return reading.image.nbytes if isinstance(reading, SourcePicture) else 0

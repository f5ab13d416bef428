"""Video inside DICOM plays as what it is, read piece by piece."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.codec.context import Flags
from pydicom.dataset import Dataset

from sender.sources import Skipped, SourcePicture, images
from sender.sources.dicom import DicomSource
from sender.sources.dicom.file import Contents, open_dicom
from sender.sources.dicom.fragments import parse_items
from sender.sources.dicom.video import FragmentReader
from sender.sources.video import VideoSource
from shared.errors import BadInput, SourceFailed
from shared.frame import Rect
from tests.sender.sources.dicom.clips import H264, MPEG2, header, items, noise, smooth, video, write

PICTURES = [smooth(n, (64, 96)) for n in range(8)]
MP4 = video(PICTURES, "libx264", "mp4")
KINDS = {
    "mpeg2": (MPEG2, video(PICTURES, "mpeg2video", "mpeg2video")),
    "mpeg2-program": ("1.2.840.10008.1.2.4.101", video(PICTURES, "mpeg2video", "mpeg")),
    "h264-mp4": (H264, MP4),
    "h264-stream": ("1.2.840.10008.1.2.4.103", video(PICTURES, "libx264", "h264")),
    "h264-transport": ("1.2.840.10008.1.2.4.106", video(PICTURES, "libx264", "mpegts")),
    "hevc": ("1.2.840.10008.1.2.4.107", video(PICTURES, "libx265", "mp4")),
    "hevc-10": ("1.2.840.10008.1.2.4.108", video(PICTURES, "libx265", "hevc")),
}


def clip(
    tmp_path: Path, syntax: str, data: bytes, *, pieces: int = 1, **elements: Any
) -> DicomSource:
    return DicomSource(file_of(tmp_path, syntax, data, pieces=pieces, **elements))


def file_of(tmp_path: Path, syntax: str, data: bytes, *, pieces: int = 1, **elements: Any) -> Path:
    ds = header(PICTURES[0], 8, **{"PhotometricInterpretation": "YBR_PARTIAL_420"} | elements)
    step = -(-len(data) // pieces) // 2 * 2 or 2
    cut = [data[at : at + step] for at in range(0, len(data), step)]
    pixels = items([cut], [0])
    return write(tmp_path / "DOE_JANE.dcm", ds, pixels, syntax, wrapped=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [1, 7])
def test_every_kind_of_video_plays_and_plays_again(kind: str, pieces: int, tmp_path: Path) -> None:
    syntax, data = KINDS[kind]
    if pieces > 1 and "hevc" not in kind:
        syntax = f"{syntax}.1"  # the fragmentable variant
    source = clip(tmp_path, syntax, data, pieces=pieces)
    for _ in range(2):
        found = list(images(source))
        assert len(found) == 8
        for picture, expected in zip(found, PICTURES, strict=True):
            assert np.abs(picture.astype(int) - expected).mean() < 8
    assert (source.info.kind, source.info.width, source.info.height) == ("dicom", 96, 64)
    source.close()


def test_the_files_rate_counts_more_than_the_streams(tmp_path: Path) -> None:
    assert clip(tmp_path, H264, MP4, FrameTime=50).info.fps == 20.0
    assert clip(tmp_path, H264, MP4).info.fps == 25.0


def test_the_number_of_pictures_is_the_streams(tmp_path: Path) -> None:
    source = clip(tmp_path, H264, MP4, NumberOfFrames=30)
    assert source.info.frame_count == 8
    assert any("another number of pictures" in remark for remark in source.info.remarks)


def test_a_claim_of_the_header_is_not_told_as_the_number_of_pictures(tmp_path: Path) -> None:
    data = video(PICTURES, "libx264", "mpegts")
    source = clip(tmp_path, H264, data, NumberOfFrames=99)
    assert source.info.frame_count in (None, 8)
    assert len(list(images(source))) == 8


def test_a_damaged_stretch_does_not_end_the_pass(tmp_path: Path) -> None:
    data = bytearray(
        video([smooth(n, (64, 96)) for n in range(5)] * 12, "mpeg2video", "mpeg2video")
    )
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    source = clip(tmp_path, MPEG2, bytes(data))
    readings = list(source.pictures())
    assert sum(isinstance(r, SourcePicture) for r in readings) > 30
    assert all(isinstance(r, SourcePicture | Skipped) for r in readings)


def test_what_is_no_video_is_refused_by_the_name_of_its_syntax(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="MPEG2 Main Profile") as caught:
        clip(tmp_path, MPEG2, bytes(4000))
    assert "DICOM" not in (caught.value.hint or "")  # it is one, and not to be given another
    assert "DOE" not in f"{caught.value}{caught.value.hint}"


def test_masks_are_those_of_the_declared_regions(tmp_path: Path) -> None:
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 32, 16
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 79, 47
    path = file_of(tmp_path, H264, MP4, SequenceOfUltrasoundRegions=[region])
    for reading in DicomSource(path, mask_auto=True).pictures():
        assert isinstance(reading, SourcePicture)
        assert not reading.masked[:16].any()
        assert not reading.masked[:, :32].any()
    with pytest.raises(BadInput):
        DicomSource(file_of(tmp_path, H264, MP4), mask_auto=True)


def test_fragments_read_like_one_file(tmp_path: Path) -> None:
    file = open_dicom(file_of(tmp_path, H264, MP4, pieces=9))
    found = parse_items(file.contents.at, file.start, file.end)
    reader = FragmentReader(file.contents, found.fragments)
    whole = reader.read()
    assert whole[: len(MP4)] == MP4
    rng = np.random.default_rng(0)
    for _ in range(200):
        at, nbytes = (int(n) for n in rng.integers(0, len(MP4) + 50, 2))
        assert reader.seek(at) == at
        assert reader.read(nbytes) == whole[at : at + nbytes]
        assert reader.tell() == max(at, min(at + nbytes, len(whole)))
    assert reader.seek(-10, 2) == len(whole) - 10
    assert reader.seek(-10, 1) == len(whole) - 20
    file.close()


def test_a_pass_never_holds_the_whole_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 0
    at = Contents.at

    def recorded(self: Contents, offset: int, nbytes: int) -> bytes:
        nonlocal longest
        data = at(self, offset, nbytes)
        longest = max(longest, len(data))
        return data

    rough = [noise((64, 96, 3), seed) for seed in range(40)]
    big = video(rough, "mpeg2video", "mpeg2video")
    assert len(big) > 200_000
    monkeypatch.setattr(Contents, "at", recorded)
    assert len(list(images(clip(tmp_path, MPEG2, big)))) == 40
    assert longest < len(big) // 4


def below(top: int) -> Dataset:
    """A region of the pictures of this file: all below `top`."""
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, top
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 95, 63
    return region


@pytest.mark.parametrize("sides", [(96, 128), (32, 48), (96, 64)])
def test_regions_for_another_size_than_the_videos_are_refused(
    sides: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[VideoSource] = []
    close = VideoSource.close
    monkeypatch.setattr(VideoSource, "close", lambda self: (closed.append(self), close(self)))
    data = video([smooth(n, sides) for n in range(3)], "mpeg2video", "mpeg2video")
    path = file_of(tmp_path, MPEG2, data, SequenceOfUltrasoundRegions=[below(16)])
    with pytest.raises(BadInput, match="another size"):
        DicomSource(path, mask_auto=True)
    assert len(closed) == 1
    assert DicomSource(path).info.height == sides[0]


def stream(pictures: list[np.ndarray], codec: str, form: str, **how: Any) -> bytes:
    """An elementary stream; `turned`: said to be upside down; `flags` for the encoder."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        options = {"tune": "zerolatency", "bf": "0"} if codec == "libx264" else {}
        encoder: Any = container.add_stream(codec, rate=25, options=options)
        encoder.height, encoder.width = pictures[0].shape[:2]
        encoder.pix_fmt, encoder.bit_rate = "yuv420p", 2_000_000
        encoder.codec_context.flags |= how.get("flags", 0)
        turning = "h264_metadata=display_orientation=insert:rotate=180"
        turned = BitStreamFilterContext(turning, encoder) if how.get("turned") else None
        for picture in [*pictures, None]:
            frame = None if picture is None else av.VideoFrame.from_ndarray(picture, format="rgb24")
            for packet in encoder.encode(frame):
                container.mux(turned.filter(packet) if turned else packet)
    return out.getvalue()


def masked(path: Path) -> list[SourcePicture]:
    readings = DicomSource(path, mask_auto=True).pictures()
    return [reading for reading in readings if isinstance(reading, SourcePicture)]


def with_banner(side: int = 16) -> np.ndarray:
    picture = np.full((64, 96, 3), 60, np.uint8)
    picture[:side] = 255
    return picture


def test_masks_turn_with_a_picture_that_turns_on_the_way(tmp_path: Path) -> None:
    pictures = [with_banner()] * 4
    data = stream(pictures, "libx264", "h264") + stream(pictures, "libx264", "h264", turned=True)
    path = file_of(tmp_path, H264, data, SequenceOfUltrasoundRegions=[below(24)])
    shown = masked(path)
    assert {p.geometry.orientation for p in shown} == {1, 3}
    for picture in shown:
        assert picture.image.max() > 200
        assert picture.masked.max() < 200


def test_masks_grow_where_the_compression_changes_on_the_way(tmp_path: Path) -> None:
    fields = int(Flags.interlaced_dct) | int(Flags.interlaced_me)
    data = stream(PICTURES, "mpeg2video", "mpeg2video")
    data += stream(PICTURES, "mpeg2video", "mpeg2video", flags=fields)
    path = file_of(tmp_path, MPEG2, data, SequenceOfUltrasoundRegions=[below(24)])
    shown = masked(path)
    assert len({p.geometry for p in shown}) > 1
    for picture in shown:
        assert picture.masks == (picture.geometry.grown(Rect(0, 0, 96, 24)),)


def test_a_later_picture_of_another_size_is_hidden_as_a_whole(tmp_path: Path) -> None:
    data = stream(PICTURES, "mpeg2video", "mpeg2video")
    data += stream([smooth(n, (96, 64)) for n in range(4)], "mpeg2video", "mpeg2video")
    path = file_of(tmp_path, MPEG2, data, SequenceOfUltrasoundRegions=[below(24)])
    shown = masked(path)
    others = [p for p in shown if p.image.shape[:2] != (64, 96)]
    assert others
    assert not any(p.masked.any() for p in others)


@pytest.mark.parametrize(
    "data",
    [
        b"ffconcat version 1.0\nfile other.ts\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        b"m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
)
def test_a_list_in_the_place_of_the_video_opens_nothing(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.ts").write_bytes(video(PICTURES, "mpeg2video", "mpegts"))
    with pytest.raises(SourceFailed, match="a list"):
        clip(tmp_path, H264, data)

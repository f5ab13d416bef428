"""No text that was to be hidden leaves: from files of each kind, through every codec.

The way is the program's own: the source and its masks made ready, played, masked, encoded, sealed,
opened and decoded.  What enters the encoder is looked at pixel by pixel; in what arrives the text
is looked for, and the same search finds it where nothing was masked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    UltrasoundMultiFrameImageStorage,
)

from sender.pipeline import SealingPipeline
from sender.playback.play import play
from sender.preparation import MaskWishes, prepare
from shared.codecs import CODECS, Encoder, EncoderTarget, open_decoder, open_encoder
from shared.crypto.keyschedule import SenderSchedule, derive_epoch
from shared.crypto.sealing import Opener
from shared.errors import BadInput
from shared.frame import EncodedFrame, Frame, Image, Rect
from shared.wire import SENDER_ID, parse_inner
from tests.doubles import ShakeBackend, ShakeGenerator

pytestmark = pytest.mark.jumping_clock

WIDTH, HEIGHT = 192, 160
FOUND, NOT_FOUND = 0.7, 0.5  # correlation with the text: what arrives as it was, and chance


def written(text: str = "DOE JANE 4711") -> Image:
    """The letters, white on black, as a device writes them; uint8, cut to their size."""
    board = np.zeros((40, 200), np.uint8)
    cv2.putText(board, text, (4, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
    rows, columns = np.nonzero(board)
    return board[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


TEXT = written()
PLACE = Rect(37, 11, TEXT.shape[1], TEXT.shape[0])  # on no border of any block


def scene(width: int = WIDTH, height: int = HEIGHT) -> Image:
    """A sector on black with the text above it, RGB `(height, width, 3)`."""
    image = np.zeros((height, width), np.uint8)
    centre, reach = (width // 2, 40), min(width, height) - 60
    cv2.ellipse(image, centre, (reach, reach), 0, 45, 135, 120, cv2.FILLED)
    image[PLACE.y : PLACE.y + PLACE.height, PLACE.x : PLACE.x + PLACE.width] = TEXT
    return np.repeat(image[:, :, np.newaxis], 3, axis=2)


def likeness(image: Image) -> float:
    """How like the text the most like place of a picture is, by normalised correlation."""
    grey = image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    grey = grey.astype(np.float32)
    # A picture of one colour correlates with nothing; noise below what can be seen settles that.
    grey += np.random.default_rng(1).normal(0, 0.5, grey.shape).astype(np.float32)
    return float(cv2.matchTemplate(grey, TEXT.astype(np.float32), cv2.TM_CCOEFF_NORMED).max())


# -- files of each kind ---------------------------------------------------------------------------


def jpeg(image: Image) -> bytes:
    """Lossy, with halved chroma: ringing carries the letters through blocks of 16x16."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 40]
    return bytes(cv2.imencode(".jpg", image[:, :, ::-1], options)[1])


def dicom(path: Path, *, regions: bool, compressed: bool = False, burned_in: str = "NO") -> str:
    """An ultrasound clip of two frames; its sector is declared, and "none" over all the screen."""
    image = scene()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = JPEGBaseline8Bit if compressed else ExplicitVRLittleEndian
    ds = Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4"
    ds.Modality, ds.BurnedInAnnotation = "US", burned_in
    ds.NumberOfFrames, ds.Rows, ds.Columns, ds.SamplesPerPixel = 2, HEIGHT, WIDTH, 3
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation, ds.PlanarConfiguration = 7, 0, 0
    ds.PhotometricInterpretation = "YBR_FULL_422" if compressed else "RGB"
    if compressed:
        ds.LossyImageCompression = "01"
        ds.PixelData = encapsulate([jpeg(image)] * 2)
    else:
        ds.PixelData = np.stack([image] * 2).tobytes()
    ds["PixelData"].VR = "OB"
    if regions:
        ds.SequenceOfUltrasoundRegions = [
            region(0, 0, 0, 0, WIDTH - 1, HEIGHT - 1),
            region(1, 1, 20, 40, WIDTH - 21, HEIGHT - 1),
        ]
    ds.save_as(path, enforce_file_format=True)
    return str(path)


def region(shape: int, kind: int, left: int, top: int, right: int, bottom: int) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = shape, kind, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = 0.1
    return item


def phone_video(path: Path) -> str:
    """A portrait video as phones write it: stored on its side, with a matrix that turns it."""
    stored = np.ascontiguousarray(np.rot90(scene(HEIGHT, WIDTH)))  # shown 160 x 192
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20"})
        stream.width, stream.height = stored.shape[1], stored.shape[0]
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode())
    content = bytearray(path.read_bytes())
    # ISO/IEC 14496-12, 8.3.2: the matrix ends 8 bytes before the end of the track header, which is
    # 92 bytes long.  This one turns by a quarter clockwise.
    matrix = content.index(b"tkhd") - 4 + 92 - 8 - 36
    quarter = (0, 0x10000, 0, -0x10000, 0, 0, stored.shape[0] << 16, 0, 0x40000000)
    content[matrix : matrix + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in quarter)
    path.write_bytes(content)
    return str(path)


def folder(path: Path, name: str, content: bytes) -> str:
    path.mkdir()
    (path / name).write_bytes(content)
    return str(path)


def png(image: Image) -> bytes:
    return bytes(cv2.imencode(".png", image[:, :, ::-1])[1])


@dataclass(frozen=True)
class Leak:
    """A file that a test writes, what a person asks to have hidden, and where the text stands."""

    write: Callable[[Path], str]
    wishes: MaskWishes
    block: int = 1

    @property
    def hidden(self) -> Rect:
        """What must be hidden at the least: the text and the blocks that it lies in."""
        side, right, bottom = self.block, PLACE.x + PLACE.width, PLACE.y + PLACE.height
        x, y = PLACE.x // side * side, PLACE.y // side * side
        return Rect(x, y, -(-right // side) * side - x, -(-bottom // side) * side - y)


TIGHT = MaskWishes((f"{PLACE.x},{PLACE.y},{PLACE.width},{PLACE.height}",))

LEAKS = {
    "a region of no kind over all the screen": Leak(
        lambda folder: dicom(folder / "a.dcm", regions=True), MaskWishes(auto=True)
    ),
    "compressed with loss in DICOM, masked by its regions": Leak(
        lambda folder: dicom(folder / "a.dcm", regions=True, compressed=True),
        MaskWishes(auto=True),
        block=16,
    ),
    "a portrait video of a phone": Leak(
        lambda folder: phone_video(folder / "a.mp4"), MaskWishes(("0,0,160,28",))
    ),
    "compressed with loss, a rectangle round the letters": Leak(
        lambda path: folder(path / "a", "1.jpg", jpeg(scene())), TIGHT, block=16
    ),
    "compressed with loss in DICOM, a rectangle round the letters": Leak(
        lambda folder: dicom(folder / "a.dcm", regions=False, compressed=True), TIGHT, block=16
    ),
    "letters that were found": Leak(
        lambda path: folder(path / "a", "1.png", png(scene())), MaskWishes(text=True)
    ),
    "a file that says YES to burned-in text": Leak(
        lambda folder: dicom(folder / "a.dcm", regions=False, burned_in="YES"), TIGHT
    ),
}


# -- the way --------------------------------------------------------------------------------------


class Watched:
    """An encoder that keeps what it is given."""

    def __init__(self, codec: str) -> None:
        self._encoder: Encoder = open_encoder(codec, target=EncoderTarget(quality=90))
        self.given: list[Image] = []

    def retarget(self, target: EncoderTarget) -> None:
        self._encoder.retarget(target)

    def encode(self, image: Image, *, key: bool) -> EncodedFrame:
        self.given.append(image.copy())
        return self._encoder.encode(image, key=key)


async def sent(spec: str, wishes: MaskWishes, codec: str) -> tuple[list[Image], list[Image]]:
    """Two frames as they enter the encoder, and as they arrive."""
    prepared = prepare(spec, masks=wishes)
    prepared.check_leave(given=False)
    schedule = SenderSchedule(SENDER_ID)
    secret = schedule.start(time.monotonic_ns())
    keys = derive_epoch(secret.secret, secret.epoch, SENDER_ID)
    opener = Opener(keys, SENDER_ID, ShakeGenerator(keys.keystream_key))
    pipeline, watched, decoder = (
        SealingPipeline(ShakeBackend(), sender=SENDER_ID),
        Watched(codec),
        open_decoder(codec),
    )
    pipeline.encode_with(watched)
    pipeline.enter_epoch(schedule, secret.epoch)
    arrived: list[Image] = []
    try:
        playing = play(prepared.source, fps=240, loop=True, frames=2, masking=prepared.masking)
        async with aclosing(playing):
            async for frame in playing:
                if isinstance(frame, Frame):
                    sealed = pipeline.process(frame, key=not arrived)
                    metadata, payload = parse_inner(opener.open(sealed.sealed).inner)
                    image = decoder.decode(
                        payload,
                        width=metadata.width,
                        height=metadata.height,
                        channels=metadata.channels,
                        key=metadata.depends_on is None,
                    )
                    arrived.append(image)
    finally:
        pipeline.close()
        prepared.close()
    assert len(arrived) == len(watched.given) == 2
    return watched.given, arrived


@pytest.fixture(autouse=True)
def finder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector's own tests are elsewhere: here it finds the letters where they are."""

    class Finder:
        settle = staticmethod(lambda: None)

        @staticmethod
        def find(image: Image) -> tuple[Rect, ...]:
            return (PLACE,) if likeness(image) > FOUND else ()

    monkeypatch.setattr("sender.preparation._open_finder", Finder)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", LEAKS)
async def test_text_that_is_to_be_hidden_does_not_arrive(
    kind: str, codec: str, tmp_path: Path
) -> None:
    leak = LEAKS[kind]
    given, arrived = await sent(leak.write(tmp_path), leak.wishes, codec)
    hidden = leak.hidden
    rows, columns = (
        slice(hidden.y, hidden.y + hidden.height),
        slice(hidden.x, hidden.x + hidden.width),
    )
    for image in given:
        assert not image[rows, columns].any()
        # Nor did the letters leave a trace in the black round about: above the sector.
        assert image[:36].max() <= 2
        assert image[60:].max() >= 100, "the picture itself is gone"
    for image in arrived:
        assert likeness(image) < NOT_FOUND


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", [kind for kind in LEAKS if "YES" not in kind])
async def test_the_same_search_finds_text_that_was_not_masked(
    kind: str, codec: str, tmp_path: Path
) -> None:
    _, arrived = await sent(LEAKS[kind].write(tmp_path), MaskWishes(), codec)
    assert all(likeness(image) > FOUND for image in arrived)


async def test_text_that_may_be_burned_in_does_not_leave_without_a_mask_or_leave(
    tmp_path: Path,
) -> None:
    spec = dicom(tmp_path / "a.dcm", regions=False, burned_in="YES")
    with pytest.raises(BadInput) as caught:
        await sent(spec, MaskWishes(), "lossless")
    assert "--burned-in-ok" in caught.value.hint

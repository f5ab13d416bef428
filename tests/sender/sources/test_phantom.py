"""Phantoms: any size, moving, and the same from run to run."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

from sender.sources import images
from sender.sources.phantom import PHANTOMS, PhantomSource
from shared.errors import BadInput

every_phantom = pytest.mark.parametrize("kind", PHANTOMS)

HASHES = """
import hashlib
from sender.sources.phantom import PHANTOMS, PhantomSource
for kind in PHANTOMS:
    source = PhantomSource(kind, size=(100, 80), fps=25)
    for index in (0, 1, 500, 123_456):
        print(hashlib.sha256(source.picture(index).tobytes()).hexdigest())
"""


@every_phantom
@pytest.mark.parametrize("size", [(640, 480), (16, 16), (17, 333), (1000, 16)])
def test_any_size_can_be_had(kind: str, size: tuple[int, int]) -> None:
    source = PhantomSource(kind, size=size)
    picture = source.picture(3)
    assert picture.shape[:2] == (size[1], size[0])
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert (source.info.width, source.info.height) == size


def test_ultrasound_is_grey_and_endoscopy_is_colour() -> None:
    for kind, channels in (("ultrasound", 1), ("endoscopy", 3)):
        source = PhantomSource(kind)
        assert source.info.channels == channels
        assert source.picture(0).ndim == (2 if channels == 1 else 3)


@every_phantom
def test_a_picture_follows_from_its_index_alone(kind: str) -> None:
    one, other = PhantomSource(kind, size=(120, 90)), PhantomSource(kind, size=(120, 90))
    straight = list(islice(images(one), 12))
    for index in (11, 3, 0, 7):
        assert np.array_equal(other.picture(index), straight[index])


def test_pictures_are_the_same_in_another_process() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", HASHES], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(set(runs[0].stdout.split())) == 8


@every_phantom
def test_consecutive_pictures_differ_and_the_motion_is_small(kind: str) -> None:
    source = PhantomSource(kind, size=(160, 120))
    for index in range(0, 60, 7):
        step = np.abs(source.picture(index).astype(int) - source.picture(index + 1).astype(int))
        assert 0 < step.mean() < 40


@every_phantom
def test_the_picture_is_neither_empty_nor_saturated(kind: str) -> None:
    picture = PhantomSource(kind).picture(5)
    assert 20 < picture.mean() < 200
    assert picture.std() > 20


def test_the_ultrasound_chamber_beats() -> None:
    source = PhantomSource("ultrasound", size=(160, 120), fps=30)
    centre = [float(source.picture(i)[50:82, 60:100].mean()) for i in range(27)]
    assert max(centre) > min(centre) * 1.2


@pytest.mark.parametrize("size", [(15, 100), (100, 15), (4097, 100), (0, 0)])
def test_a_size_out_of_range_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(BadInput):
        PhantomSource("ultrasound", size=size)

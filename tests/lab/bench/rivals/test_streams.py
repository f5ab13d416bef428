"""Every rival with its real programs, for two seconds over the loopback address."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lab.bench.rivals.clip import write_clip
from lab.bench.rivals.pair import Pair, Program
from lab.bench.rivals.place import Loopback
from lab.bench.rivals.rival import Case
from lab.bench.rivals.veilscope import Veilscope
from lab.bench.stream import RIVALS
from lab.bench.stream_figures import figures_of, quality_of
from shared.errors import VeilscopeError

WIDTH, HEIGHT, PICTURES = 320, 240, 12


def pictures() -> list[np.ndarray]:
    """A blob that wanders over a gradient."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    found = []
    for number in range(PICTURES):
        distance = np.hypot(rows - 120, columns - 60 - 15 * number)
        found.append(np.clip(columns / 2 + 120 * np.exp(-distance / 20), 0, 255).astype(np.uint8))
    return found


@pytest.mark.parametrize("name", list(RIVALS))
def test_a_rival_shows_the_sources_pictures(tmp_path, name) -> None:
    rival = RIVALS[name]
    if rival.missing:
        pytest.skip(rival.missing)
    source = pictures()
    clip = write_clip(tmp_path / "clip.nut", iter(source), limit=PICTURES)
    case = Case(clip, 15.0, 2.0, tmp_path, sample_every=4, tail_s=0.5)
    run = rival.stream(case, Loopback())
    assert len(run.record.shown) >= 5
    assert run.ended_ns > run.began_ns
    quality = quality_of(run, dict(enumerate(source)), PICTURES, warmup_s=0)
    figures = figures_of(run, quality, warmup_s=0)
    assert 0 < figures.shown <= figures.offered
    assert (figures.latency_p50_ms or 0) > 0
    assert figures.quality.pictures > 0
    assert figures.quality.exact or (figures.quality.mean_db or 0) > 20
    indices = [shown.index for shown in run.record.shown]
    assert set(indices) <= {offered.index for offered in run.record.offered}
    assert all(len(usage) > 0 for usage in run.usage.values())


def test_a_program_that_fails_is_told_with_its_own_last_words(tmp_path) -> None:
    clip = write_clip(tmp_path / "clip.nut", iter(pictures()), limit=1)
    broken = Pair("broken", "lab.bench.rivals.no_such_program")
    with pytest.raises(VeilscopeError, match="no_such_program"):
        broken.stream(Case(clip, 15.0, 1.0, tmp_path), Loopback())


def test_a_rival_whose_package_is_missing_says_so() -> None:
    assert "no_such_package" in str(Pair("x", "y", package="no_such_package").missing)
    assert "no-such-browser" in str(Pair("x", "y", executables=("no-such-browser",)).missing)
    assert Pair("x", "y", package="json").missing is None


def test_what_a_program_says_out_of_turn_is_an_error(tmp_path) -> None:
    arguments = ["sh", "-c", 'echo \'{"type": "surprise"}\'; cat']
    with Program(Loopback().left, arguments, tmp_path / "log") as program:
        with pytest.raises(VeilscopeError, match="surprise"):
            program.hear("offer", 30.0)


class Spoilt:
    """A side whose receiver does all its work, and then crashes."""

    address = Loopback.right.address

    def popen(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        return Loopback.right.popen([sys.executable, "-c", SPOILT, *arguments], **options)


SPOILT = """
import subprocess, sys
assert subprocess.run(sys.argv[1:]).returncode == 0
sys.exit("it crashes at the end")
"""


def test_a_receiver_that_crashes_at_the_end_spoils_the_run(tmp_path) -> None:
    clip = write_clip(tmp_path / "clip.nut", iter(pictures()), limit=PICTURES)
    case = Case(clip, 15.0, 1.0, tmp_path, sample_every=4, tail_s=0.5)
    place = Loopback()
    place.right = Spoilt()
    with pytest.raises(VeilscopeError, match="it crashes at the end"):
        Veilscope().stream(case, place)

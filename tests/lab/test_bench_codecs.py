"""The codecs' benchmark: every codec beside PNG on the same pictures, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from lab.bench import codecs
from lab.bench.codecs import measure
from shared.codecs import CODECS, EncoderTarget
from shared.errors import BadInput


def bench(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(codecs.main)
    return CliRunner().invoke(app, arguments)


def test_every_codec_is_measured_beside_png_on_every_given_clip(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    for index in range(4):
        noise = np.random.default_rng(index).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(clip / f"{index}.png"), noise)
    out = tmp_path / "codecs.json"
    result = bench("--clip", str(clip), "--frames", "3", "--json", str(out))
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())["codecs"]
    assert [row["codec"] for row in rows] == ["png-1", *CODECS]
    assert {row["frames"] for row in rows} == {3}
    assert all(row["encode_p50_ms"] > 0 and row["mean_kib"] > 0 for row in rows)


def test_one_codec_alone_can_be_measured_in_grey_at_a_bitrate(tmp_path: Path) -> None:
    picture = tmp_path / "still.png"
    cv2.imwrite(str(picture), np.full((48, 64, 3), 90, np.uint8))
    out = tmp_path / "codecs.json"
    arguments = ["--clip", str(picture), "--codec", "h264", "--grey", "--bitrate", "1"]
    result = bench(*arguments, "--frames", "3", "--json", str(out))
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert found["target"]["bitrate_bps"] == 1_000_000
    assert [row["codec"] for row in found["codecs"]] == ["png-1", "h264"]


def test_key_and_inter_pictures_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    rows = {r.codec: r for r in measure("x", [picture] * 4, list(CODECS), EncoderTarget())}
    assert rows["jpeg"].inter_kib is None
    for name in ("lossless", "h264", "h264-444"):
        inter = rows[name].inter_kib
        assert inter is not None and inter < rows[name].key_kib / 2
    assert rows["lossless"].psnr_mean_db is None
    assert rows["h264"].psnr_mean_db is not None


def test_the_clips_drawn_here_move() -> None:
    first, second = codecs._speckle(64, 48, 2)
    assert first.shape == (48, 64)
    assert np.any(first != second)


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    for path in (tmp_path / "notes.mp4", tmp_path):
        with pytest.raises(BadInput):
            codecs._read(path, 3, grey=False)

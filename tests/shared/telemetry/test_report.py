from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import BadInput, OutputFailed
from shared.telemetry.reader import read_log
from shared.telemetry.records import DropLine, DropReason, EventLine, Role
from shared.telemetry.report import REASONS, ReportPicture, check_report, write_report

WriteLog = Callable[..., Path]

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """The page's elements; fails on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def drawn(log: Path, **options: object) -> Page:
    out = log.with_suffix(".html")
    write_report(log, out, **options)  # type: ignore[arg-type]
    return Page(out.read_text(encoding="utf-8"))


def test_the_page_shows_the_summary_and_the_session(write_log: WriteLog) -> None:
    page = drawn(write_log())
    for words in (
        "7f3a91c2",
        "encrypted: AES-256-GCM + learned keystream bp",
        "frames shown 88",
        "frames dropped 2",
        "latency, p99 20.0 ms",
        "PSNR, mean 41.5 dB",
        "arrived after a newer frame was shown",
        "key epoch 1",
    ):
        assert words in page.text


def test_the_share_is_of_the_frames_counted_though_lines_of_some_are_lost(
    write_log: WriteLog,
) -> None:
    log = write_log()
    lines = log.read_text().splitlines(keepends=True)
    lost = [n for n, line in enumerate(lines) if '"type":"frame"' in line][:40]
    log.write_text("".join(line for n, line in enumerate(lines) if n not in lost))
    assert "frames shown 88 97.8 % of 90" in drawn(log).text


@pytest.mark.parametrize("reason", DropReason)
def test_every_reason_for_a_drop_is_explained(write_log: WriteLog, reason: DropReason) -> None:
    log = write_log()
    lines = log.read_text().splitlines()
    lines.insert(-1, DropLine(at_s=2.0, index=None, reason=reason).model_dump_json())
    summary = json.loads(lines[-1])
    summary["frames_dropped"][reason.value] = 5
    summary["auth_failures"] = summary["replays"] = 5  # counted apart
    log.write_text("\n".join([*lines[:-1], json.dumps(summary)]) + "\n")
    assert f"{reason.value.replace('_', ' ')} {REASONS[reason]} 5" in drawn(log).text


def test_the_page_needs_nothing_from_outside(write_log: WriteLog) -> None:
    page = drawn(write_log())
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object")
        for name in ("src", "href", "xlink:href", "data", "action", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#"))
    text = write_log().with_suffix(".html").read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    assert "<script" not in text


def test_every_drawing_and_picture_says_what_it_is(write_log: WriteLog, tmp_path: Path) -> None:
    picture = tmp_path / "x.png"
    cv2.imwrite(str(picture), np.zeros((20, 20), np.uint8))
    page = drawn(write_log(), comparison=[ReportPicture(picture, "original")])
    charts = [svg for svg in page.all("svg") if "aria-hidden" not in svg]
    assert len(charts) == 6
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in charts)
    assert all(image["alt"] for image in page.all("img"))
    assert page.all("html")[0]["lang"] == "en"


def test_a_log_cannot_put_markup_into_the_page(write_log: WriteLog) -> None:
    page = drawn(write_log())
    assert page.all("b") == []
    assert "<b>slow</b> network" in page.text


def test_a_lossless_session_is_called_so(write_log: WriteLog) -> None:
    page = drawn(write_log(lossless=True))
    assert "picture lossless" in page.text
    assert "no PSNR to draw" in page.text
    assert "PSNR, mean" not in page.text


def test_a_senders_log_is_drawn_with_its_own_stages(write_log: WriteLog) -> None:
    page = drawn(write_log("sender"))
    assert "frames sent 88" in page.text
    assert "Time at the sender" in page.text
    assert "latency, p95" not in page.text
    rows = [attributes["class"] for attributes in page.all("span") if "class" in attributes]
    assert "key key-send" in rows
    assert "key key-decode" not in rows


def test_a_log_cut_short_is_drawn_from_its_frames_and_says_so(write_log: WriteLog) -> None:
    whole = write_log()
    complete = read_log(whole)
    cut = whole.with_name("cut.jsonl")
    lines = whole.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(lines[:-1]) + lines[-1][:30])
    log = read_log(cut)
    assert log.cut_short
    assert log.summary_computed
    computed, written = log.summary, complete.summary
    assert computed.model_dump(exclude={"at_s", "fps"}) == written.model_dump(
        exclude={"at_s", "fps"}
    )
    page = drawn(cut)
    assert "cut short" in page.text
    assert "no summary" in page.text
    assert "frames shown 88" in page.text


def test_damaged_lines_are_passed_over_and_counted(write_log: WriteLog) -> None:
    path = write_log()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[10] = b'{"type":"frame","frame":"nonsense"}\n'
    lines[11] = b"\xff\xfe\x00garbage\n"
    path.write_bytes(b"".join(lines))
    log = read_log(path)
    assert log.unreadable == 2
    assert len(log.frames) == 86
    assert "2 lines of the log could not be read" in drawn(path).text


def test_a_session_without_frames_still_has_a_page(write_log: WriteLog) -> None:
    page = drawn(write_log(frames=0))
    assert "No frame was shown in this session." in page.text


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"hello\n", b"{}\n", b'{"type":"frame"}\n', b"\x89PNG\r\n", b'{"type":"session"'],
)
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    out = tmp_path / "x.html"
    with pytest.raises(BadInput):
        write_report(path, out)
    assert not out.exists()


def test_a_device_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a session's log"):
        write_report(Path("/dev/full"), tmp_path / "x.html")


def test_a_missing_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be read"):
        write_report(tmp_path / "none.jsonl", tmp_path / "x.html")


def test_a_page_that_cannot_be_written_leaves_nothing(write_log: WriteLog, tmp_path: Path) -> None:
    with pytest.raises(OutputFailed):
        write_report(write_log(), tmp_path / "nowhere" / "x.html")
    folder = tmp_path / "folder"
    (folder / "x.html").mkdir(parents=True)
    with pytest.raises(OutputFailed):
        write_report(write_log(), folder / "x.html")
    assert [path.name for path in folder.iterdir()] == ["x.html"]


def test_whether_a_page_can_be_written_is_known_before(tmp_path: Path) -> None:
    old = tmp_path / "x.html"
    old.write_text("an earlier report")
    check_report(old)
    check_report(tmp_path / "new.html")
    assert old.read_text() == "an earlier report"
    for path in (tmp_path / "nowhere" / "x.html", old / "x.html", tmp_path):
        with pytest.raises(OutputFailed, match="can't be written"):
            check_report(path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]


def test_the_first_middle_and_last_saved_frames_are_embedded(
    write_log: WriteLog, tmp_path: Path
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(5):
        cv2.imwrite(str(folder / f"frame-{index:06d}.png"), np.full((20, 30), index, np.uint8))
    page = drawn(write_log(), frames_dir=folder)
    images = [image["src"] or "" for image in page.all("img")]
    shades = []
    for uri in images:
        data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
        shades.append(int(cv2.imdecode(np.frombuffer(data, np.uint8), 0)[0, 0]))
    assert shades == [0, 2, 4]


def test_a_comparison_picture_that_is_no_png_is_refused(
    write_log: WriteLog, tmp_path: Path
) -> None:
    wrong = tmp_path / "x.png"
    wrong.write_text("<script>")
    with pytest.raises(BadInput, match="not a PNG"):
        drawn(write_log(), comparison=[ReportPicture(wrong, "x")])


@pytest.mark.parametrize("role", ["sender", "receiver"])
def test_each_change_of_quality_stands_with_its_reason_beside_the_path(
    write_log: WriteLog, role: Role
) -> None:
    page = drawn(write_log(role))
    assert "Path and quality" in page.text
    assert any("Rate of the path" in str(svg.get("aria-label")) for svg in page.all("svg"))
    assert page.text.count("<b>slow</b> network") == 2, "in the timeline and among the events"


def test_what_came_while_the_picture_was_frozen_is_told_apart_from_drops(
    write_log: WriteLog,
) -> None:
    log = write_log()
    lines = log.read_text().splitlines()
    summary = {**json.loads(lines[-1]), "frames_frozen": 44}
    log.write_text("\n".join([*lines[:-1], json.dumps(summary)]) + "\n")
    page = drawn(log)
    assert "frames dropped 2 44 more while frozen" in page.text
    assert "44 more frames came while the viewer held the picture" in page.text
    assert "while the viewer held" not in drawn(write_log()).text


def test_of_quality_that_stayed_as_it_was_no_more_is_said_than_that(write_log: WriteLog) -> None:
    log = write_log()
    lines = [line for line in log.read_text().splitlines() if "quality lowered" not in line]
    log.write_text("\n".join(lines) + "\n")
    page = drawn(log)
    assert "Quality did not change." in page.text
    assert "lowered" not in page.text.replace("quality was lowered; green", "")


def test_another_codec_is_a_change_of_quality_and_both_codecs_are_named(
    write_log: WriteLog,
) -> None:
    log = write_log()
    change = EventLine(at_s=2.0, event="codec changed to h264-444", detail="the path has room")
    lines = log.read_text().splitlines()
    lines = [line for line in lines if "quality lowered" not in line]
    lines.insert(1, change.model_dump_json())
    frames = [n for n, line in enumerate(lines) if '"type":"frame"' in line]
    lines[frames[-1]] = lines[frames[-1]].replace('"jpeg"', '"h264-444"')
    log.write_text("\n".join(lines) + "\n")
    page = drawn(log)
    assert "Codec jpeg, h264-444" in page.text
    assert "Quality did not change" not in page.text
    assert "codec changed to h264-444 the path has room" in page.text


def test_a_page_is_for_its_owner_alone(write_log: WriteLog) -> None:
    out = write_log().with_suffix(".html")
    drawn(write_log())
    assert out.stat().st_mode & 0o777 == 0o600

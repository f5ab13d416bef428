"""Draws a session's log as one HTML page that opens anywhere, with no network.

Everything is inside the page: charts as SVG, pictures as data.  It shows what the log holds and
says what the log lacks; it works out nothing that could not be checked against the log.
"""

from __future__ import annotations

import base64
import errno
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jinja2

from shared.errors import BadInput, OutputFailed
from shared.privatefile import check_writable, write_private
from shared.telemetry.reader import SessionLog, read_log
from shared.telemetry.records import DropReason, SummaryLine
from shared.telemetry.tiers import AMBER_MS, GREEN_MS, tier

__all__ = ["ReportPicture", "check_report", "write_report"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

REASONS: dict[DropReason, str] = {
    DropReason.LINK_BUSY: "the path was full, and a newer frame took its place",
    DropReason.SENDER_BUSY: "the sender was at work on the one before, and a newer one came",
    DropReason.NO_RECEIVER: "nobody was there to send it to",
    DropReason.SOURCE_DAMAGED: "damaged in the source",
    DropReason.RATE_LIMITED: "left out, since the frame rate was lowered",
    DropReason.RECEIVER_SILENT: "nothing was heard of the receiver for a while",
    DropReason.NOT_RECEIVED: "never reached the receiver",
    DropReason.SUPERSEDED: "a newer frame or the end came before it could be shown",
    DropReason.FROZEN: "the person had frozen the picture",
    DropReason.LATE: "arrived after a newer frame was shown",
    DropReason.REFERENCE_ONLY: "decoded for the newer one that builds on it, which was there too",
    DropReason.MISSING_REFERENCE: "the frame that it builds on did not get there",
    DropReason.AUTH_FAILURE: "the authentication tag did not fit",
    DropReason.REPLAYED: "sent a second time",
    DropReason.KEYSTREAM_MISMATCH: "the two keystreams disagreed",
    DropReason.MALFORMED: "not a frame at all",
    DropReason.UNKNOWN_EPOCH: "sealed under an epoch without a key here",
    DropReason.DECODE_FAILED: "the picture could not be decoded",
}


@dataclass(frozen=True, slots=True)
class ReportPicture:
    """A PNG file to show in the report, with the words under it."""

    path: Path
    caption: str


@dataclass(frozen=True, slots=True)
class _Embedded:
    uri: str
    caption: str


@dataclass(frozen=True, slots=True)
class _Tile:
    name: str
    value: str
    unit: str = ""
    note: str = ""
    tier: str = ""


def write_report(
    log_path: Path,
    out_path: Path,
    frames_dir: Path | None = None,
    *,
    comparison: Sequence[ReportPicture] = (),
) -> None:
    """Write the page for the log at `log_path` to `out_path`.

    `frames_dir` holds saved frames (`frame-000123.png`), of which the first, middle and last are
    shown; `comparison` are pictures to stand side by side, such as original, as sent, decrypted.

    Raises:
        BadInput: the log can't be read or is no log, or a picture is no PNG.
        OutputFailed: the page can't be written.
    """
    from shared.telemetry import charts  # brings matplotlib: seconds that other commands don't owe

    log = read_log(log_path)
    stages = charts.stage_rows(log)
    saved = [] if frames_dir is None else _first_middle_last(frames_dir)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            log=log,
            sent=log.session.role == "sender",
            tiles=_tiles(log),
            notes=_notes(log),
            latency=charts.latency_chart(log),
            distribution=charts.distribution(log),
            stages=stages,
            stage_chart=charts.stage_chart(stages),
            psnr=charts.psnr_chart(log),
            sizes=charts.size_chart(log),
            path=charts.path_chart(log),
            drops=_drop_rows(log),
            pictures=[_embedded(picture) for picture in saved],
            comparison=[_embedded(picture) for picture in comparison],
            green_ms=GREEN_MS,
            amber_ms=AMBER_MS,
        )
    )
    with _failure_told(out_path):
        write_private(out_path, page.encode())  # it may hold pictures


def check_report(path: Path) -> None:
    """Make sure that a report can be put at `path`, before the session that it is to tell of.

    Raises:
        OutputFailed: it can't be.
    """
    with _failure_told(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        check_writable(path.parent)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@contextmanager
def _failure_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputFailed(
            f"the report {path} can't be written: {error.strerror}", hint="give another path"
        ) from error


# -- what the page says -------------------------------------------------------------------------


def _notes(log: SessionLog) -> list[str]:
    notes = []
    if log.cut_short:
        notes.append("The log's last line is cut short: the program was ended while it wrote.")
    if log.summary_computed:
        notes.append(
            "The log has no summary, because its program was killed or is still running: "
            "the figures are worked out from its frames."
        )
    if log.unreadable:
        notes.append(f"{log.unreadable} lines of the log could not be read and are left out.")
    if not log.frames:
        notes.append(f"No frame was {_done(log)} in this session.")
    return notes


def _done(log: SessionLog) -> str:
    return "sent" if log.session.role == "sender" else "shown"


def _tiles(log: SessionLog) -> list[_Tile]:
    summary = log.summary
    dropped = sum(summary.frames_dropped.values())
    count = _frame_count(log)
    total = count + dropped
    frozen = summary.frames_frozen if isinstance(summary, SummaryLine) else 0
    held = f"{frozen} more while frozen" if frozen else ""
    share = f"{100 * count / total:.1f} % of {total}" if total else ""
    tiles = [
        _Tile(f"frames {_done(log)}", str(count), note=share),
        _Tile("frames dropped", str(dropped), note=held, tier="amber" if dropped else ""),
        _Tile("frame rate", _number(summary.fps, 1), "fps"),
    ]
    if isinstance(summary, SummaryLine):
        figures = summary.latency_ms
        for name, value in (
            ("latency, median", figures.p50),
            ("latency, p95", figures.p95),
            ("latency, p99", figures.p99),
            ("latency, worst", figures.max),
        ):
            tiles.append(_Tile(name, _number(value, 1), "ms", tier=_tier(value)))
    tiles += _psnr_tiles(log)
    mean_bits = 8 * summary.bytes / log.streamed_s / 1e6 if log.streamed_s > 0 else None
    tiles.append(_Tile("bitrate", _number(mean_bits, 2), "Mbit/s", _megabytes(summary.bytes)))
    if isinstance(summary, SummaryLine):
        for name, count, bad in (
            ("freezes", summary.freezes, "amber"),
            ("auth failures", summary.auth_failures, "red"),
            ("replays refused", summary.replays, "red"),
            ("keystream mismatches", summary.keystream_mismatches, "red"),
        ):
            tiles.append(_Tile(name, str(count), tier=bad if count else "green"))
    return tiles


def _psnr_tiles(log: SessionLog) -> list[_Tile]:
    figures = log.summary.psnr_db
    if figures.mean is None:
        exact = bool(log.frames) and all(frame.lossless for frame in log.frames)
        return [_Tile("picture", "lossless" if exact else "none", note="bit for bit")]
    return [
        _Tile("PSNR, mean", _number(figures.mean, 1), "dB"),
        _Tile("PSNR, worst", _number(figures.min, 1), "dB"),
    ]


def _frame_count(log: SessionLog) -> int:
    summary = log.summary
    return summary.frames_shown if isinstance(summary, SummaryLine) else summary.frames_sent


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001 - a dash for no figure


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB in all"


def _tier(latency_ms: float | None) -> str:
    return "" if latency_ms is None else tier(latency_ms)


def _drop_rows(log: SessionLog) -> list[tuple[str, str, int, float]]:
    """(reason, in words, count, share of the largest), of frames and of what posed as frames."""
    counts: Counter[DropReason] = Counter(log.summary.frames_dropped)
    if isinstance(log.summary, SummaryLine):
        counts[DropReason.AUTH_FAILURE] = log.summary.auth_failures
        counts[DropReason.REPLAYED] = log.summary.replays
    counts = +counts
    most = max(counts.values(), default=1)
    return [(r.replace("_", " "), REASONS[r], n, n / most) for r, n in counts.most_common()]


# -- pictures -----------------------------------------------------------------------------------


def _first_middle_last(folder: Path) -> list[ReportPicture]:
    paths = sorted(folder.glob("frame-*.png"), key=lambda path: (len(path.name), path.name))
    if not paths:
        return []
    chosen = dict.fromkeys([0, len(paths) // 2, len(paths) - 1])  # fewer where they coincide
    return [
        ReportPicture(paths[i], f"frame {paths[i].stem.removeprefix('frame-').lstrip('0') or '0'}")
        for i in chosen
    ]


def _embedded(picture: ReportPicture) -> _Embedded:
    try:
        data = picture.path.read_bytes()
    except OSError as error:
        raise BadInput(f"the picture {picture.path} can't be read: {error.strerror}") from error
    if not data.startswith(PNG_SIGNATURE):
        raise BadInput(f"{picture.path} is not a PNG picture")
    return _Embedded(f"data:image/png;base64,{base64.b64encode(data).decode()}", picture.caption)

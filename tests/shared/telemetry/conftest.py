"""Log lines made from a few numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.telemetry.log import JsonLinesLog
from shared.telemetry.metrics import Metrics
from shared.telemetry.records import (
    DropLine,
    DropReason,
    EpochLine,
    EventLine,
    FrameLine,
    KeystreamIdentity,
    PathLine,
    Role,
    SentFrameLine,
    SentStages,
    SessionLine,
    ShownStages,
)


def session_line(role: Role = "receiver") -> SessionLine:
    return SessionLine(
        role=role,
        session="7f3a91c2",
        version="0.1.0",
        codec="jpeg",
        keystream=KeystreamIdentity(family="bp", digest="ab" * 32, backend="cpu"),
        suite="AES-256-GCM",
        source="demo" if role == "sender" else None,
        width=640,
        height=480,
        started_at="2026-03-14T09:26:53+00:00",
    )


def shown_line(
    index: int, *, latency_ms: float | None = 20.0, psnr_db: float | None = 41.5, nbytes: int = 4000
) -> FrameLine:
    return FrameLine(
        at_s=index / 30,
        frame=index,
        epoch=1,
        codec="jpeg",
        width=640,
        height=480,
        channels=3,
        bytes=nbytes,
        latency_ms=latency_ms,
        latency_bound_ms=0.5,
        psnr_db=psnr_db,
        lossless=psnr_db is None,
        stages_ms=ShownStages(capture=0.5, encode=3.0, network=10.0, decode=2.0, show=4.5),
    )


def sent_line(index: int) -> SentFrameLine:
    return SentFrameLine(
        at_s=index / 30,
        frame=index,
        epoch=1,
        codec="jpeg",
        width=640,
        height=480,
        channels=3,
        bytes=4000,
        psnr_db=41.5,
        lossless=False,
        stages_ms=SentStages(capture=0.5, mask=0.1, encode=3.0, seal=0.2, send=0.3),
    )


WriteLog = Callable[..., Path]


@pytest.fixture
def write_log(tmp_path: Path) -> WriteLog:
    """Writes a session of 90 frames, two of them dropped, as the programs would."""

    def write(role: Role = "receiver", *, frames: int = 90, lossless: bool = False) -> Path:
        path = tmp_path / f"{role}.jsonl"
        metrics = Metrics()
        with JsonLinesLog(path) as log:
            log.write(session_line(role))
            log.write(EpochLine(at_s=0.0, epoch=1, reason="start"))
            for index in range(frames):
                if index in (30, 60):
                    log.write(DropLine(at_s=index / 30, index=index, reason=DropReason.LATE))
                    metrics.add_drop(DropReason.LATE, round(index / 30 * 1e9), index)
                    continue
                line = (
                    sent_line(index)
                    if role == "sender"
                    else shown_line(index, psnr_db=None if lossless else 41.5)
                )
                metrics.add_frame(line, round(line.at_s * 1e9))
                log.write(line)
            log.write(EventLine(at_s=1.5, event="quality lowered", detail="<b>slow</b> network"))
            for second, rate_bps in enumerate((8_000_000, 2_100_000, 6_000_000)):
                log.write(
                    PathLine(
                        at_s=float(second),
                        rate_bps=rate_bps,
                        target_bps=rate_bps // 2,
                        rtt_ms=40.0,
                        queue_ms=1.0,
                        loss=0.01,
                    )
                )
            end_s = frames / 30
            log.write(metrics.sent_summary(end_s) if role == "sender" else metrics.summary(end_s))
        return path

    return write

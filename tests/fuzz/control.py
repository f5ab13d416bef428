"""Control messages, as an authenticated peer says them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from shared import control
from shared.errors import HandshakeFailed, NotSupported


def one(data: bytes) -> None:
    ignored: Counter[str] = Counter()
    with contextlib.suppress(HandshakeFailed, NotSupported):
        message = control.parse(data, ignored)
        if message is not None:
            said = control.parse(control.pack(message))  # `critical` is said of no message of ours
            assert said is not None and control.pack(said) == control.pack(message)


def seeds() -> Iterator[tuple[str, bytes]]:
    messages: list[control.ControlMessage] = [
        control.EpochAck(epoch=3),
        control.Timings(
            rows=[control.TimingRow(epoch=1, counter=2, keystream_us=3, seal_us=4, send_us=5)]
        ),
        control.Tally(sent=5, dropped={"link_busy": 2}),
        control.PathReport(rate_bps=10**6, rtt_ms=20.5, queue_ms=0.0, loss=0.01, target_bps=None),
        control.ReceiverReport(shown=7, latency_p95_ms=12.5),
        control.KeyFrameRequest(index=4),
        control.StillRequest(index=4),
        control.StillCancel(index=4),
        control.StillUnavailable(index=4),
        control.Bye(reason="error", detail="it failed"),
    ]
    for message in messages:
        yield message.type, control.pack(message)
    yield "surrogate", b'{"type":"tomorrow","x":"\\ud800"}'
    yield "unknown", b'{"type":"tomorrow","critical":false,"x":[[[null]]]}'
    yield "critical", b'{"type":"bye","reason":"quit","critical":true,"more":1}'
    yield "nan", b'{"type":"receiver-report","shown":1,"latency_p95_ms":NaN}'

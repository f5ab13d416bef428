"""Messages inside the secure channel: typed, silent about their secrets, strict in what is known
and patient with what is not.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared import control
from shared.control import (
    MAX_MESSAGE_BYTES,
    MAX_TIMING_ROWS,
    Bye,
    Epoch,
    EpochAck,
    KeyFrameRequest,
    Notice,
    PathReport,
    QualityNotice,
    ReceiverReport,
    StillCancel,
    StillRequest,
    StillUnavailable,
    Tally,
    TimingRow,
    Timings,
    pack,
    parse,
)
from shared.crypto.keyschedule import EpochSecret
from shared.errors import HandshakeFailed, NotSupported

u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
epoch_number = st.integers(1, 2**32 - 1)
messages = st.one_of(
    st.builds(
        Epoch,
        epoch=epoch_number,
        secret=st.binary(min_size=32, max_size=32),
        sender=u16,
        reason=st.sampled_from(["start", "time", "join", "leave"]),
    ),
    st.builds(EpochAck, epoch=epoch_number),
    st.builds(
        Timings,
        rows=st.lists(
            st.builds(
                TimingRow,
                counter=u64,
                epoch=epoch_number,
                keystream_us=u32,
                seal_us=u32,
                send_us=u32,
            ),
            max_size=5,
        ),
    ),
    st.builds(
        Tally,
        sent=u64,
        dropped=st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_]{0,31}\Z"), u64, max_size=4),
    ),
    st.builds(
        PathReport,
        rate_bps=u64,
        rtt_ms=st.floats(0, 1e4),
        queue_ms=st.floats(0, 1e4),
        loss=st.floats(0, 1),
        target_bps=st.none() | u64,
    ),
    st.builds(ReceiverReport, shown=u64, latency_p95_ms=st.none() | st.floats(-1e4, 1e6)),
    st.builds(
        QualityNotice,
        reason=st.text(max_size=50).filter(str.isprintable),
        codec=st.sampled_from(["jpeg", "h264-444", "lossless"]),
        width=st.integers(16, 4096),
        height=st.integers(16, 4096),
        fps=st.floats(0.1, 240),
        bitrate_bps=st.none() | u64,
        quality=st.none() | st.integers(1, 100),
    ),
    st.builds(
        Notice,
        kind=st.from_regex(r"\A[a-z][a-z0-9_]{0,31}\Z"),
        text=st.text(max_size=50).filter(str.isprintable),
        lasting=st.booleans(),
        since_ns=st.none() | st.integers(-(2**63), 2**63 - 1),
    ),
    st.builds(KeyFrameRequest, index=u64),
    st.builds(StillRequest, index=u64),
    st.builds(StillCancel, index=u64),
    st.builds(StillUnavailable, index=u64, detail=st.text(max_size=50).filter(str.isprintable)),
    st.builds(
        Bye,
        reason=st.sampled_from(["ended", "quit", "error"]),
        detail=st.text(max_size=50).filter(str.isprintable),
    ),
)
EPOCH: dict[str, Any] = json.loads(
    pack(Epoch(epoch=2, secret=b"\xffS" * 16, sender=1, reason="join"))
)


@given(messages)
def test_a_message_reads_back_as_it_was_written(message: Any) -> None:
    assert parse(pack(message)) == message


def test_the_json_of_an_epoch() -> None:
    assert EPOCH == {
        "type": "epoch",
        "epoch": 2,
        "secret": "_1P_U_9T_1P_U_9T_1P_U_9T_1P_U_9T_1P_U_9T_1M=",
        "sender": 1,
        "reason": "join",
    }


def test_an_epoch_carries_what_the_schedules_exchange() -> None:
    secret = EpochSecret(4, b"k" * 32, "leave")
    received = parse(pack(Epoch.announce(secret, sender=9)))
    assert isinstance(received, Epoch)
    assert received.epoch_secret == secret
    assert received.sender == 9


@pytest.mark.parametrize(
    "change",
    [{"type": 5}, {"type": None}, {"epoch": 0}, {"epoch": 2**32}, {"epoch": "2"},
     {"epoch": 2.0}, {"epoch": True}, {"secret": "_1P_"}, {"secret": "!" * 44}, {"secret": 5},
     {"sender": -1}, {"sender": 2**16}, {"reason": "whim"}, {"critical": 1}, {"critical": None}],
)  # fmt: skip
def test_a_field_that_is_not_exactly_as_listed_is_refused(change: dict[str, Any]) -> None:
    parse(json.dumps(EPOCH).encode())
    with pytest.raises(HandshakeFailed):
        parse(json.dumps(EPOCH | change).encode())


@pytest.mark.parametrize("missing", list(EPOCH))
def test_a_missing_field_is_refused(missing: str) -> None:
    with pytest.raises(HandshakeFailed):
        parse(json.dumps({k: v for k, v in EPOCH.items() if k != missing}).encode())


# -- what later versions may say ------------------------------------------------------------------

names = st.from_regex(r"\A[a-z][a-z0-9_]{0,31}\Z").filter(lambda name: name != "critical")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)


@given(messages, st.dictionaries(names.map(lambda name: "new_" + name), anything, min_size=1))
def test_fields_of_a_later_version_are_passed_over_and_counted(
    message: Any, added: dict[str, Any]
) -> None:
    ignored: Counter[str] = Counter()
    data = json.dumps(added | json.loads(pack(message))).encode()
    assert parse(data, ignored) == message
    assert ignored == {"fields": len(added)}


@given(st.dictionaries(names, anything))
def test_a_message_of_a_later_version_is_passed_over_and_counted(said: dict[str, Any]) -> None:
    ignored: Counter[str] = Counter()
    assert parse(json.dumps(said | {"type": "new_type"}).encode(), ignored) is None
    assert ignored == {"types": 1}


def test_a_field_of_a_later_version_inside_a_row_is_passed_over() -> None:
    row = {"counter": 1, "epoch": 1, "keystream_us": 1, "seal_us": 1, "send_us": 1, "new": [2]}
    timings = parse(json.dumps({"type": "timings", "rows": [row]}).encode())
    assert isinstance(timings, Timings) and len(timings.rows) == 1
    with pytest.raises(NotSupported):
        parse(json.dumps({"type": "timings", "rows": [row], "critical": True}).encode())


@pytest.mark.parametrize(
    "said", [{"type": "new_type"}, EPOCH | {"new": 1}, EPOCH | {"new": 1, "epoch": "two"}]
)
def test_a_critical_message_that_is_not_known_whole_is_refused_and_none_of_it_repeated(
    said: dict[str, Any],
) -> None:
    with pytest.raises(NotSupported, match="does not know") as caught:
        parse(json.dumps(said | {"critical": True, "words": "call this number"}).encode())
    assert "new" not in str(caught.value) and "call" not in str(caught.value)
    assert "newest version" in caught.value.hint


def test_a_critical_message_that_is_known_whole_is_as_any_other() -> None:
    told = parse(json.dumps(EPOCH | {"critical": True}).encode())
    assert isinstance(told, Epoch)
    assert told.epoch == 2
    assert parse(json.dumps(EPOCH | {"critical": False}).encode()) == parse(
        json.dumps(EPOCH).encode()
    )


@pytest.mark.parametrize(
    "value",
    ["[" * 30_000 + "]" * 30_000, '{"a":' * 10_000 + "1" + "}" * 10_000, "9" * 60_000, "NaN"],
    ids=["lists", "objects", "digits", "no number"],
)
@pytest.mark.parametrize("kind", ["new_type", "epoch_ack"])
def test_a_value_that_nobody_can_need_is_refused_wherever_it_stands(kind: str, value: str) -> None:
    with pytest.raises(HandshakeFailed):
        parse(f'{{"type": "{kind}", "epoch": 1, "new": {value}}}'.encode())


@pytest.mark.parametrize("empty", ["[]", "{}"])
@pytest.mark.parametrize("said", ['"type": "new_type"', '"type": "epoch_ack", "epoch": 1'])
def test_of_a_value_that_is_passed_over_no_objects_are_made(said: str, empty: str) -> None:
    data = f'{{{said}, "new": [{",".join([empty] * 20_000)}]}}'.encode()
    runs: list[str] = []
    note = lambda phase, _details: runs.append(phase)  # noqa: E731 -- gc wants a function to remove
    threshold = gc.get_threshold()
    gc.set_threshold(1000, 10, 10)
    gc.callbacks.append(note)
    try:
        parse(data)
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(*threshold)
    assert len(runs) <= 2, "each object sets off the garbage collector, over all that there is"


def test_a_word_for_no_number_is_taken_inside_a_text() -> None:
    assert parse(
        b'{"type": "bye", "reason": "quit", "detail": "a \\"NaN, \\\\", "new": "Infinity"}'
    ) == (Bye(reason="quit", detail='a "NaN, \\'))


@given(st.binary(max_size=100))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(HandshakeFailed):
        parse(garbage)


@pytest.mark.parametrize("totals", [{"Busy": 1}, {"a b": 1}, {"x" * 33: 1}, {"busy": -1}])
def test_a_drop_reason_is_a_short_plain_name_and_its_count_no_less_than_zero(
    totals: dict[str, int],
) -> None:
    with pytest.raises(HandshakeFailed):
        parse(json.dumps({"type": "tally", "sent": 1, "dropped": totals}).encode())


def test_a_detail_is_one_printable_line_whoever_wrote_it() -> None:
    raw = json.dumps({"type": "bye", "reason": "error", "detail": "\x1b[2Jtwo\nlines"}).encode()
    for bye in (parse(raw), Bye(reason="error", detail="\x1b[2Jtwo\nlines")):
        assert bye == Bye(reason="error", detail=" [2Jtwo lines")


def test_a_line_does_not_begin_with_a_mark_on_what_was_written_before_it() -> None:
    assert Notice(kind="a", text="\u0338\u20e0ne\u0301e").text == "  ne\u0301e"
    assert Bye(reason="error", detail="\u0338").detail == " "


def test_a_detail_is_short() -> None:
    with pytest.raises(HandshakeFailed):
        parse(json.dumps({"type": "bye", "reason": "error", "detail": "x" * 201}).encode())


def test_the_longest_batch_of_timings_fits_one_message_and_one_more_row_does_not() -> None:
    big = 2**32 - 1
    row = TimingRow(counter=2**64 - 1, epoch=big, keystream_us=big, seal_us=big, send_us=big)
    message = Timings(rows=[row] * MAX_TIMING_ROWS)
    data = pack(message)
    assert len(data) <= MAX_MESSAGE_BYTES
    assert parse(data) == message
    rows = [row.model_dump()] * (MAX_TIMING_ROWS + 1)
    with pytest.raises(HandshakeFailed):
        parse(json.dumps({"type": "timings", "rows": rows}).encode())


def test_a_message_over_the_limit_is_refused() -> None:
    padded = json.dumps(EPOCH).encode() + b" " * MAX_MESSAGE_BYTES
    with pytest.raises(HandshakeFailed):
        parse(padded)


def test_no_repr_and_no_error_shows_the_secret() -> None:
    secret = b"SECRET-SECRET-SECRET-SECRET-1234"
    message = Epoch(epoch=1, secret=secret, sender=1, reason="start")
    encoded = json.loads(pack(message))["secret"]
    shown = [repr(message), str(message)]
    for bad in ({"epoch": 0}, {"secret": encoded[:-4]}):
        with pytest.raises(HandshakeFailed) as caught:
            parse(json.dumps(json.loads(pack(message)) | bad).encode())
        shown += [str(caught.value), repr(caught.value), str(caught.value.__context__)]
    with pytest.raises(ValidationError) as invalid:
        Epoch(epoch=1, secret=secret + b"x", sender=1, reason="start")
    shown.append(str(invalid.value))
    assert not [text for text in shown if "SECRET" in text or encoded[:12] in text]


def test_strings_are_looked_for_only_in_what_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    # A string without an end costs the square of its length to look for.
    def searched(data: bytes) -> bool:
        raise AssertionError("searched before it was known to be JSON")

    monkeypatch.setattr(control, "_names_nan", searched)
    with pytest.raises(HandshakeFailed):
        control.parse(b'{"type":"NaN' + b'\\"' * 100)

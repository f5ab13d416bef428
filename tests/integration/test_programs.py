"""The three programs as subprocesses, from the command line: how they run, and how they end."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from sender.sources import images, open_source
from shared.telemetry.reader import read_log
from shared.telemetry.records import SummaryLine
from tests.integration.programs import Outcome, both, program, signaling

GRACE = ("--grace", "4")  # of silence, until the other end counts as gone
PHANTOM = ("--source", "phantom:ultrasound", "--size", "98x75", "--fps", "25")


def complaint(outcome: Outcome) -> str:
    """The one line for the person; nothing but a hint may follow it."""
    lines = outcome.errors.strip().splitlines()
    assert "Traceback" not in outcome.errors
    assert lines, f"nothing was said: {outcome}"
    assert lines[0].startswith("error: "), outcome.errors
    assert len(lines) <= 2, outcome.errors
    assert len(lines) == 1 or lines[1].startswith("  → "), outcome.errors
    return lines[0]


async def test_three_programs_stream_losslessly_and_leave_logs_frames_and_a_report(
    tmp_path: Path,
) -> None:
    code_file, frames = tmp_path / "code", tmp_path / "frames"
    sender_log, receiver_log = tmp_path / "s.jsonl", tmp_path / "r.jsonl"
    report = tmp_path / "report.html"
    async with signaling() as url:
        async with (
            program(
                "sender", *both(url), *PHANTOM, "--codec", "lossless", "--frames", "40",
                "--code-file", code_file, "--log", sender_log,
            ) as sender,
            program(
                "receiver", *both(url), "--code-file", code_file, "--display", "none",
                "--save-frames", frames, "--save-sealed", "--log", receiver_log,
                "--record", tmp_path / "session.mkv", "--report", report,
            ) as receiver,
        ):  # fmt: skip
            await sender.says("pairing code:")
            assert code_file.stat().st_mode & 0o777 == 0o600
            code = code_file.read_text().strip()
            sent, received = await asyncio.gather(sender.ended(), receiver.ended())
    assert (sent.status, sent.errors) == (0, "")
    assert (received.status, received.errors) == (0, "")
    assert not code_file.exists(), "a spent code is left lying about"

    log, sent_log = read_log(receiver_log), read_log(sender_log)
    assert isinstance(log.summary, SummaryLine)
    assert not log.summary_computed
    assert not sent_log.summary_computed
    assert log.summary.frames_shown >= 20
    assert log.summary.auth_failures == 0
    source = open_source("phantom:ultrasound", size=(98, 75), fps=25)
    originals = list(islice(images(source), 40))
    saved = sorted(frames.glob("*.png"))
    assert [path.name for path in saved] == [f"frame-{line.frame:06d}.png" for line in log.frames]
    for path in saved:
        index = int(path.stem.removeprefix("frame-"))
        assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), originals[index])
        assert path.with_suffix(".sealed").stat().st_size > originals[index].size // 20
    assert "<html" in report.read_text()
    assert (tmp_path / "session.mkv").stat().st_size > 0
    words = code.split("-")[1:]
    for text in (sender_log.read_text(), receiver_log.read_text(), received.output):
        # One may be a word of the log by chance, such as "frame": the list has it too.
        assert sum(word in re.findall(r"[a-z]+", text) for word in words) < 2


async def test_the_name_of_the_source_is_in_no_log_and_does_not_reach_the_other_end(
    tmp_path: Path,
) -> None:
    code_file, folder = tmp_path / "code", tmp_path / "ROE^RICHARD-19700101"
    logs = {end: tmp_path / f"{end}.jsonl" for end in ("sender", "receiver")}
    folder.mkdir()
    for index in range(3):
        picture = np.full((64, 80), 60 * index, np.uint8)
        cv2.imwrite(str(folder / f"ROE^RICHARD-{index}.png"), picture)
    (folder / "ROE^RICHARD-3.png").write_bytes(b"no picture")  # what is said of it names it neither
    async with (
        signaling() as url,
        program(
            "sender", *both(url), "--source", folder, "--fps", "25", "--frames", "30", "--loop",
            "--code-file", code_file, "--log", logs["sender"],
        ) as sender,
        program(
            "receiver", *both(url), "--code-file", code_file, "--display", "none",
            "--log", logs["receiver"], "--report", tmp_path / "report.html",
        ) as receiver,
    ):  # fmt: skip
        _, received = await asyncio.gather(sender.ended(), receiver.ended())
    texts = [path.read_text() for path in (*logs.values(), tmp_path / "report.html")]
    assert '"frame"' in texts[0]
    for text in (*texts, received.output, received.errors):
        assert not re.search("roe|richard|19700101", text, re.IGNORECASE)


async def test_a_wrong_code_ends_the_receiver_with_status_3_and_leaves_the_sender_waiting(
    tmp_path: Path,
) -> None:
    async with signaling() as url, program("sender", *both(url), *PHANTOM) as sender:
        await sender.says("pairing code:")
        nameplate = re.findall(r"pairing code:\s+(\d+)-", sender.output)[0]
        wrong = tmp_path / "wrong"
        wrong.write_text(f"{nameplate}-zoo-zoo-zoo")
        async with program("receiver", *both(url), "--code-file", wrong) as receiver:
            outcome = await receiver.ended()
        assert outcome.status == 3
        assert "code" in complaint(outcome)
        assert "zoo" not in outcome.output + outcome.errors
        await sender.says("could not join")
        assert sender.process.returncode is None
        sender.process.send_signal(signal.SIGINT)
        ended = await sender.ended()
        assert ended.status == 130
        assert ended.errors == ""


@pytest.mark.parametrize("killed", ["sender", "receiver"])
async def test_a_killed_peer_ends_the_other_with_status_5_and_whole_logs(
    tmp_path: Path, killed: str
) -> None:
    code_file = tmp_path / "code"
    logs = {"sender": tmp_path / "s.jsonl", "receiver": tmp_path / "r.jsonl"}
    async with (
        signaling() as url,
        program(
            "sender", *both(url), *GRACE, *PHANTOM, "--code-file", code_file,
            "--log", logs["sender"], "--until-left",
        ) as sender,
        program(
            "receiver", *both(url), *GRACE, "--code-file", code_file, "--display", "none",
            "--log", logs["receiver"],
        ) as receiver,
    ):  # fmt: skip
        await receiver.says("receiver: live")
        while logs["receiver"].read_text().count('"frame"') < 10:
            await asyncio.sleep(0.05)
        victim, survivor = (sender, receiver) if killed == "sender" else (receiver, sender)
        victim.process.kill()
        outcome = await survivor.ended()
    assert outcome.status == 5
    assert "gone" in complaint(outcome)
    left = "receiver" if killed == "sender" else "sender"
    assert not read_log(logs[left]).summary_computed
    broken = read_log(logs[killed])
    assert broken.summary_computed
    assert broken.frames


async def test_ctrl_c_at_the_sender_ends_both_well(tmp_path: Path) -> None:
    code_file, log = tmp_path / "code", tmp_path / "s.jsonl"
    async with (
        signaling() as url,
        program("sender", *both(url), *PHANTOM, "--code-file", code_file, "--log", log) as sender,
        program("receiver", *both(url), "--code-file", code_file, "--display", "none") as receiver,
    ):
        await receiver.says("receiver: live")
        while log.read_text().count('"frame"') < 5:
            await asyncio.sleep(0.05)
        sender.process.send_signal(signal.SIGINT)
        sent, received = await asyncio.gather(sender.ended(), receiver.ended())
    assert (sent.status, sent.errors) == (130, "")
    assert (received.status, received.errors) == (0, "")
    assert "the sender ended the session" in received.output
    assert not read_log(log).summary_computed
    assert not code_file.exists()


async def test_a_code_used_twice_is_refused(tmp_path: Path) -> None:
    code_file = tmp_path / "code"
    async with (
        signaling() as url,
        program("sender", *both(url), *PHANTOM, "--code-file", code_file) as sender,
    ):
        await sender.says("pairing code:")
        spent = tmp_path / "spent"
        spent.write_text(code_file.read_text())
        async with program(
            "receiver", *both(url), "--code-file", spent, "--display", "none"
        ) as first:
            await first.says("receiver: live")
            async with program("receiver", *both(url), "--code-file", spent) as second:
                outcome = await second.ended()
            assert outcome.status == 3
            assert "each code pairs once" in complaint(outcome)
            assert first.process.returncode is None


async def test_the_receiver_ends_after_the_frames_asked_for(tmp_path: Path) -> None:
    code_file, log = tmp_path / "code", tmp_path / "r.jsonl"
    async with (
        signaling() as url,
        program("sender", *both(url), *PHANTOM, "--code-file", code_file, "--until-left") as sender,
        program(
            "receiver", *both(url), "--code-file", code_file, "--display", "none",
            "--frames", "7", "--log", log,
        ) as receiver,
    ):  # fmt: skip
        received = await receiver.ended()
        sent = await sender.ended()
    assert (received.status, received.errors) == (0, "")
    assert (sent.status, sent.errors) == (0, "")
    assert len(read_log(log).frames) == 7


async def test_a_source_that_fails_midway_ends_both_with_what_happened(tmp_path: Path) -> None:
    folder = tmp_path / "patient-smith"
    folder.mkdir()
    for number in range(12):
        size = (40, 40) if number < 10 else (41, 40)
        cv2.imwrite(str(folder / f"{number}.png"), np.full(size, number * 20, np.uint8))
    code_file = tmp_path / "code"
    async with (
        signaling() as url,
        program(
            "sender", *both(url), "--source", folder, "--fps", "20", "--loop",
            "--code-file", code_file,
        ) as sender,
        program("receiver", *both(url), "--code-file", code_file, "--display", "none") as receiver,
    ):  # fmt: skip
        await receiver.says("the picture is 40x41 grey now")
        shutil.rmtree(folder)
        sent, received = await asyncio.gather(sender.ended(), receiver.ended())
    assert sent.status == 6
    assert "no picture of the source can be shown" in complaint(sent)
    assert received.status == 5
    assert "no picture of the source can be shown" in complaint(received)
    assert "smith" not in sent.output + sent.errors + received.output + received.errors


async def test_a_full_disk_for_the_log_is_said_and_the_stream_goes_on(tmp_path: Path) -> None:
    code_file, log = tmp_path / "code", tmp_path / "r.jsonl"
    async with (
        signaling() as url,
        program(
            "sender", *both(url), *PHANTOM, "--frames", "20", "--code-file", code_file,
            "--log", "/dev/full",
        ) as sender,
        program(
            "receiver", *both(url), "--code-file", code_file, "--display", "none", "--log", log
        ) as receiver,
    ):  # fmt: skip
        sent, received = await asyncio.gather(sender.ended(), receiver.ended())
    assert sent.status == 7
    assert "No space left" in sent.errors
    assert "Traceback" not in sent.errors
    assert (received.status, received.errors) == (0, "")
    assert len(read_log(log).frames) >= 10


@pytest.mark.parametrize(
    ("module", "arguments", "status", "words"),
    [
        ("sender", ("--source", "phantom:ultrasound"), 4, "can't be reached"),
        ("receiver", ("--code", "7-abandon-abandon-zoo", "--display", "none"), 4, "can't be reach"),
        ("sender", ("--source", "/nowhere/clip.mp4"), 6, "can't be found"),
        ("sender", ("--source", "phantom:liver"), 2, "phantom"),
        ("sender", ("--source", "phantom:ultrasound", "--size", "big"), 2, "not a size"),
        ("sender", ("--mask", "1,2,3"), 2, "mask"),
        ("sender", ("--mask", "900,900,5,5"), 2, "outside"),
        ("sender", ("--codec", "gif"), 2, "codec"),
        ("sender", ("--keystream", "no-such-family"), 2, "keystream"),
        ("sender", ("--signaling", "ftp://x"), 2, "signaling server"),
        ("sender", ("--log", "/nowhere/at/all.jsonl"), 7, "log"),
        ("receiver", ("--code", "7-abandon-abandon-qqqq"), 2, "word 3"),
        ("receiver", ("--code", "7-abandon"), 2, "pairing code"),
        ("receiver", ("--display", "window", "--code", "7-abandon-abandon-zoo"), 2, "window"),
        ("receiver", ("--save-frames", "/proc/frames", "--display", "none"), 7, "frames"),
        ("receiver", ("--record", "session.gif", "--display", "none"), 2, "mp4"),
        ("veilscope", ("report", "/nowhere.jsonl"), 2, "can't be read"),
        ("veilscope", ("report", "/nowhere.jsonl", "--frames", "/nowhere"), 2, "no saved frames"),
    ],
)
async def test_bad_input_gets_one_clear_line_and_its_exit_status(
    module: str, arguments: tuple[str, ...], status: int, words: str, unused_tcp_port: int
) -> None:
    unreachable = {"VEILSCOPE_SIGNALING": f"ws://127.0.0.1:{unused_tcp_port}"}
    async with program(module, *arguments, environment=unreachable) as running:
        outcome = await running.ended()
    assert outcome.status == status
    assert words in complaint(outcome)
    assert "qqqq" not in outcome.errors


async def test_debug_adds_the_traceback(unused_tcp_port: int) -> None:
    url = f"ws://127.0.0.1:{unused_tcp_port}"
    async with program("sender", "--signaling", url, "--debug") as running:
        outcome = await running.ended()
    assert outcome.status == 4
    assert "Traceback" in outcome.errors


@pytest.mark.parametrize("command", ["demo", "signal", "send", "receive", "report"])
async def test_every_command_explains_itself(command: str) -> None:
    async with program("veilscope", command, "--help") as running:
        outcome = await running.ended()
    assert outcome.status == 0
    assert "Usage" in outcome.output
    assert "issue" not in outcome.output.lower()


async def test_the_demo_runs_all_three_and_leaves_its_results(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    async with program(
        "veilscope", "demo", "--seconds", "2", "--display", "none", "--output", folder
    ) as running:
        outcome = await running.ended()
    assert (outcome.status, outcome.errors) == (0, "")
    assert "frames shown" in outcome.output
    summary = read_log(folder / "receiver.jsonl").summary
    assert isinstance(summary, SummaryLine)
    assert summary.frames_shown >= 30
    assert summary.auth_failures == 0
    for name in ("report.html", "comparison.png", "original.png", "as-sent.png"):
        assert (folder / name).stat().st_size > 0
        assert name not in ("report.html", "comparison.png") or name in outcome.output


async def test_a_report_that_cannot_be_written_is_refused_before_the_code_is_asked_for(
    tmp_path: Path,
) -> None:
    report = tmp_path / "nowhere" / "r.html"
    async with program("receiver", "--report", report, "--display", "none") as running:
        outcome = await running.ended()
    assert outcome.status == 7
    assert "report" in complaint(outcome)
    assert "pairing code" not in outcome.output


async def test_a_mistyped_code_is_the_first_thing_said() -> None:
    async with program("receiver", "--code", "7-abandon") as running:
        outcome = await running.ended()
    assert outcome.status == 2
    assert "pairing code" in complaint(outcome)
    assert outcome.output == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--display", "foo"), "--display takes"), (("--display", "none"), "input ended")],
)
async def test_bad_input_at_the_receiver_says_what_to_do_next(
    arguments: tuple[str, ...], words: str
) -> None:
    async with program("receiver", *arguments) as running:
        outcome = await running.ended()
    assert outcome.status == 2
    assert words in complaint(outcome)
    assert "  → " in outcome.errors


async def test_no_more_frames_are_saved_than_were_asked_for(tmp_path: Path) -> None:
    code_file, frames = tmp_path / "code", tmp_path / "frames"
    async with (
        signaling() as url,
        program("sender", *both(url), *PHANTOM, "--code-file", code_file, "--until-left") as sender,
        program(
            "receiver", *both(url), "--code-file", code_file, "--display", "none",
            "--frames", "5", "--save-frames", frames,
        ) as receiver,
    ):  # fmt: skip
        received = await receiver.ended()
        await sender.ended()
    assert (received.status, received.errors) == (0, "")
    assert len(list(frames.glob("*.png"))) == 5
    assert "5 of" in received.output


async def test_a_full_disk_does_not_hide_that_the_sender_is_gone(tmp_path: Path) -> None:
    code_file, frames = tmp_path / "code", tmp_path / "frames"
    async with (
        signaling() as url,
        program("sender", *both(url), *PHANTOM, "--code-file", code_file) as sender,
        program(
            "receiver", *both(url), *GRACE, "--code-file", code_file, "--display", "none",
            "--log", "/dev/full", "--save-frames", frames,
        ) as receiver,
    ):  # fmt: skip
        await receiver.says("receiver: live")
        while len(list(frames.glob("*.png"))) < 3:
            await asyncio.sleep(0.05)
        sender.process.kill()
        received = await receiver.ended()
    assert received.status == 5
    lines = received.errors.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["warning", "warning", "error"]
    assert "lines are lost" in lines[1]
    assert "gone" in lines[2]


async def test_a_log_in_use_is_refused_before_the_code_is_spent(tmp_path: Path) -> None:
    code_file, log = tmp_path / "code", tmp_path / "both.jsonl"
    async with (
        signaling() as url,
        program(
            "sender", *both(url), *PHANTOM, "--code-file", code_file, "--log", log
        ) as sender,
    ):  # fmt: skip
        await sender.says("pairing code:")
        async with program(
            "receiver", *both(url), "--code-file", code_file, "--log", log
        ) as receiver:
            outcome = await receiver.ended()
        assert outcome.status == 7
        assert "another session's log" in complaint(outcome)
        assert code_file.exists()


async def test_ctrl_c_at_the_demo_ends_all_three_well(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    async with program(
        "veilscope", "demo", "--seconds", "60", "--display", "none", "--output", folder
    ) as running:
        await running.says("receiver: live")
        while not (folder / "receiver.jsonl").read_text().count('"frame"') > 5:
            await asyncio.sleep(0.05)
        running.process.send_signal(signal.SIGINT)
        outcome = await running.ended()
    assert (outcome.status, outcome.errors) == (130, "")
    for name in ("receiver.jsonl", "sender.jsonl"):
        assert not read_log(folder / name).summary_computed

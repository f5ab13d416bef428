"""What this machine has: the processors that this process may use, OpenCV's threads."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import pytest

from shared.codecs import open_decoder, open_encoder
from shared.codecs.codec import cores


def test_processors_that_this_process_may_not_use_are_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5, 6}, raising=False)
    assert cores.__wrapped__() == 3


def test_where_that_is_not_known_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert cores.__wrapped__() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.__wrapped__() == 1


@pytest.mark.parametrize("opening", [open_encoder, open_decoder])
def test_opencv_keeps_no_threads_of_its_own_once_a_codec_is_open(opening: object) -> None:
    cv2.setNumThreads(2)
    opening("jpeg")  # type: ignore[operator]
    assert cv2.getNumThreads() == 1


def test_a_program_that_only_imports_this_keeps_opencv_as_it_is() -> None:
    program = (
        "import cv2; cv2.setNumThreads(3); import sender.session, receiver.session; "
        "raise SystemExit(cv2.getNumThreads())"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 3

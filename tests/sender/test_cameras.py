"""The command that lists cameras."""

from __future__ import annotations

import sys
from fractions import Fraction

import pytest
from typer.testing import CliRunner

import sender.cameras
from sender.cameras import described
from sender.sources.v4l2 import Camera, CameraMode
from veilscope.cli import app

SCOPE = Camera(
    2,
    "Scope [HD]",
    "/dev/v4l/by-id/usb-Scope",
    (
        CameraMode("YUYV", (640, 480), (Fraction(30),)),
        CameraMode("YUYV", (1920, 1080), (Fraction(5),)),
        CameraMode("MJPG", (1920, 1080), (Fraction(30000, 1001), Fraction(15))),
        CameraMode("RGB3", (32, 16), (), (1920, 1080)),
    ),
)


def run(monkeypatch: pytest.MonkeyPatch, *found: Camera, platform: str = "linux") -> str:
    monkeypatch.setattr(sender.cameras, "cameras", lambda: list(found))
    monkeypatch.setattr(sys, "platform", platform)
    result = CliRunner().invoke(app, ["sources"])
    assert result.exit_code == 0
    return result.output


def test_each_camera_is_told_with_all_that_one_can_ask_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = run(monkeypatch, SCOPE)
    for line in (
        "camera:2  Scope [HD]",
        "    also camera:/dev/v4l/by-id/usb-Scope",
        "    YUYV\n        1920x1080  5 fps\n        640x480  30 fps",
        "    MJPG\n        1920x1080  29.97, 15 fps",
        "    RGB3\n        32x16 to 1920x1080\n",
        "veilscope send --source camera:2 --size 1920x1080",
    ):
        assert line in output


def test_no_camera_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch) == "no camera is plugged in\n"


def test_a_camera_that_can_t_be_asked_says_why() -> None:
    lines = list(described([Camera(0, why="this user may not use it")]))
    assert lines == ["camera:0  this user may not use it"]


def test_other_systems_say_that_they_can_t_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "can't be listed" in run(monkeypatch, SCOPE, platform="darwin")

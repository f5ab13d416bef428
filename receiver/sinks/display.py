"""Whether a window can be opened here.

The window's own process would only end without a word, so this is asked first: by connecting to
the X server just as the window would, through libxcb, whose calls fail where others exit.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Literal

from shared.errors import BadInput

__all__ = ["Display", "DisplayChoice", "display_available", "resolve_display"]

DisplayChoice = Literal["auto", "window", "none"]


@dataclass(frozen=True, slots=True)
class Display:
    """Whether to open a window, and why not."""

    window: bool
    reason: str = ""


def display_available() -> Display:
    """Whether a window can be opened, with the reason where not."""
    if sys.platform == "darwin":
        return Display(False, "there is none on macOS yet")
    missing = _opencv_problem()
    if missing:
        return Display(False, missing)
    if not sys.platform.startswith("linux"):
        return Display(True)
    return _x_server()


def resolve_display(choice: DisplayChoice) -> Display:
    """What `--display` comes to on this machine.

    Raises:
        BadInput: a window is asked for and can't be opened, or `choice` is none of the three.
    """
    if choice not in ("auto", "window", "none"):
        raise BadInput(
            f"--display takes auto, window or none, not {choice!r}",
            hint="leave it out for a window where there is a screen",
        )
    if choice == "none":
        return Display(False, "")
    display = display_available()
    if choice == "window" and not display.window:
        raise BadInput(
            f"no window can be opened: {display.reason}",
            hint="use --display none, with --save-frames or --record to keep the pictures",
        )
    return display


def _opencv_problem() -> str:
    try:
        import cv2
    except ImportError as error:
        return (
            f"OpenCV can't be loaded ({error}); on Debian: apt install libxcb1 libgl1 libglib2.0-0"
        )
    for line in cv2.getBuildInformation().splitlines():
        if line.strip().startswith("GUI:") and "NONE" in line:
            return (
                "this OpenCV was built without windows (opencv-python-headless); for one with: pip "
                "uninstall opencv-python-headless, "
                "then pip install --force-reinstall --no-deps opencv-python"
            )
    return ""


def _x_server() -> Display:
    if not os.environ.get("DISPLAY"):
        if os.environ.get("WAYLAND_DISPLAY"):
            return Display(False, "there is Wayland but no XWayland (DISPLAY is not set)")
        return Display(False, "there is no screen (DISPLAY is not set)")
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return Display(False, "libxcb is missing; on Debian: apt install libxcb1")
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    reached = not xcb.xcb_connection_has_error(connection)
    xcb.xcb_disconnect(connection)
    if not reached:
        return Display(False, f"the X server at DISPLAY={os.environ['DISPLAY']} can't be reached")
    return Display(True)

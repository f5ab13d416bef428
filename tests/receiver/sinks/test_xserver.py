"""What is asked of the X server, on a (virtual) screen and where there is none."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from receiver.sinks.xserver import LEVELS, WM_NAME, XServer

TITLE = "Veilscope"
STRING, CARDINAL = 31, 6  # predefined atoms (X11 protocol, appendix B)


class Program:
    """Another connection, which makes windows."""

    def __init__(self) -> None:
        self.server = XServer()
        self._xcb = self.server._xcb
        self._connection = ctypes.c_void_p(self.server._connection)
        self.root = self.server.root

    def window(self, parent: int, title: str = "", pid: int | None = None) -> int:
        number = int(self._xcb.xcb_generate_id(self._connection))
        self._xcb.xcb_create_window(
            self._connection, 0, number, parent, 0, 0, 64, 48, 0, 0, 0, 0, None
        )
        self._set(number, WM_NAME, STRING, 8, title.encode())
        if pid is not None:
            atom = self.server._atom(b"_NET_WM_PID")
            self._set(number, atom, CARDINAL, 32, pid.to_bytes(4, "little"))
        return number

    def nested(self, depth: int, title: str, pid: int) -> int:
        """A window with that many windows around it below the root."""
        parent = self.root
        for _ in range(depth):
            parent = self.window(parent)
        return self.window(parent, title, pid)

    def destroy(self, window: int) -> None:
        self._xcb.xcb_destroy_window(self._connection, window)
        assert not self.server.has(window)

    def settle(self) -> None:
        """Wait until the server has done all that was asked."""
        self.server.has(self.root)

    def _set(self, window: int, name: int, kind: int, bits: int, value: bytes) -> None:
        self._xcb.xcb_change_property(
            self._connection, 0, window, name, kind, bits, len(value) * 8 // bits, value
        )


@pytest.fixture
def program(screen: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    monkeypatch.setenv("DISPLAY", screen)
    made = Program()
    yield made
    made.server.close()  # its windows go with it


@pytest.fixture
def server(program: Program) -> Iterator[XServer]:
    made = XServer()
    yield made
    made.close()


@pytest.mark.parametrize("depth", range(LEVELS))
def test_a_window_is_found_by_its_title_and_process_within_a_window_managers_frames(
    program: Program, server: XServer, depth: int
) -> None:
    program.nested(depth, TITLE, os.getpid() + 1)
    program.nested(depth, "another", os.getpid())
    program.window(program.root, TITLE)  # of nobody knows whom
    ours = program.nested(depth, TITLE, os.getpid())
    program.settle()
    assert server.window(TITLE) == ours


def test_what_lies_deeper_is_somebodys_own_affair(program: Program, server: XServer) -> None:
    program.nested(LEVELS, TITLE, os.getpid())
    program.settle()
    assert server.window(TITLE) is None


def test_a_window_that_was_destroyed_is_not_there(program: Program, server: XServer) -> None:
    ours = program.nested(0, TITLE, os.getpid())
    program.settle()
    assert server.has(ours)
    program.destroy(ours)
    assert not server.has(ours)
    assert server.alive


class Counting:
    """A library whose calls are noted."""

    def __init__(self, xcb: Any) -> None:
        self.called: list[str] = []
        self._xcb = xcb

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._xcb, name)

        def call(*arguments: object) -> Any:
            self.called.append(name)
            return function(*arguments)

        return call

    @property
    def round_trips(self) -> int:
        """How often an answer is awaited when the last call was none for an answer."""
        calls = [name for name in self.called if name.endswith("_reply") or name in self._asking]
        return sum(b.endswith("_reply") and not a.endswith("_reply") for a, b in pairwise(calls))

    _asking = ("xcb_intern_atom", "xcb_query_tree", "xcb_get_property")


def test_however_many_windows_there_are_the_server_is_asked_a_few_times_only(
    program: Program, server: XServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(30):
        program.nested(1, "another", os.getpid())
    program.settle()
    xcb = Counting(server._xcb)
    monkeypatch.setattr(server, "_xcb", xcb)
    assert server.window(TITLE) is None
    assert 0 < xcb.round_trips <= 1 + 3 * LEVELS


def test_once_closed_it_knows_of_nothing(program: Program) -> None:
    server = XServer()
    server.close()
    server.close()
    assert not server.alive
    assert not server.has(program.root)
    assert server.window(TITLE) is None


def test_without_a_server_there_is_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":65000")
    try:
        server = XServer()
    except OSError:
        pytest.skip("there is no libxcb here")
    assert not server.alive
    assert not server.has(1)
    assert server.window(TITLE) is None
    server.close()

"""What the X server knows of this program's window, over a connection of its own.

A window that another program destroyed (`xkill`, a desktop that goes down) is still there for
OpenCV's toolkit, and without a server the toolkit ends the whole process as soon as it notices.  So
the server is asked first, through libxcb, whose calls fail where those of other libraries exit.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from typing import Any

__all__ = ["XServer"]

WM_NAME = 39  # a predefined atom (X11 protocol, appendix B)
ANY_TYPE = 0
MAX_WORDS = 64  # of a property, 4 bytes each; a longer title is not ours


class _Cookie(ctypes.Structure):
    _fields_ = (("sequence", ctypes.c_uint),)


class _Screens(ctypes.Structure):
    _fields_ = (
        ("screen", ctypes.POINTER(ctypes.c_uint32)),  # begins with the number of its root window
        ("left", ctypes.c_int),
        ("index", ctypes.c_int),
    )


class XServer:
    """A connection to the display that the environment names, with the person's own authority.

    Raises `OSError` where libxcb is missing.  Close it after use.
    """

    def __init__(self) -> None:
        self._xcb = _library()
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = [ctypes.c_void_p]
        self._connection = self._xcb.xcb_connect(None, None)

    @property
    def alive(self) -> bool:
        """Whether the server was there when it was last asked."""
        return not self._xcb.xcb_connection_has_error(self._connection)

    def has(self, window: int) -> bool:
        """Ask whether there is still such a window; False too where the server is gone."""
        reply = self._reply("get_geometry", window)
        self._free(reply)
        return reply is not None

    def window(self, title: str) -> int | None:
        """The number of this process's window of that title, None where there is none."""
        pid_atom = self._pid_atom()
        pid = os.getpid().to_bytes(4, "little")
        for window in self._windows():
            named = self._property(window, WM_NAME) == title.encode()
            if named and self._property(window, pid_atom) == pid:
                return window
        return None

    def close(self) -> None:
        self._xcb.xcb_disconnect(self._connection)

    def _windows(self) -> Iterator[int]:
        """All windows of the first screen, the outer ones before those within."""
        if not self.alive:
            return
        setup = self._xcb.xcb_get_setup(self._connection)
        waiting = [self._xcb.xcb_setup_roots_iterator(setup).screen[0]]
        while waiting:
            window = waiting.pop(0)
            yield window
            reply = self._reply("query_tree", window)
            if reply is not None:
                count = self._xcb.xcb_query_tree_children_length(reply)
                waiting += self._xcb.xcb_query_tree_children(reply)[:count]
                self._free(reply)

    def _property(self, window: int, atom: int) -> bytes:
        reply = self._reply("get_property", 0, window, atom, ANY_TYPE, 0, MAX_WORDS)
        if reply is None:
            return b""
        length = self._xcb.xcb_get_property_value_length(reply)
        value = ctypes.string_at(self._xcb.xcb_get_property_value(reply), length)
        self._free(reply)
        return value

    def _pid_atom(self) -> int:
        name = b"_NET_WM_PID"
        reply = self._reply("intern_atom", 0, len(name), name)
        if reply is None:
            return 0
        atom = int.from_bytes(ctypes.string_at(reply + 8, 4), "little")
        self._free(reply)
        return atom

    def _reply(self, request: str, *arguments: int | bytes) -> int | None:
        """The address of the server's answer, to be freed; None for an error."""
        cookie = getattr(self._xcb, f"xcb_{request}")(self._connection, *arguments)
        reply = getattr(self._xcb, f"xcb_{request}_reply")(self._connection, cookie, None)
        return reply if reply is None else int(reply)


def _library() -> Any:
    xcb = ctypes.CDLL("libxcb.so.1")
    pointer, number, byte = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint8
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "connect": (pointer, (ctypes.c_char_p, pointer)),
        "connection_has_error": (ctypes.c_int, (pointer,)),
        "disconnect": (None, (pointer,)),
        "get_setup": (pointer, (pointer,)),
        "setup_roots_iterator": (_Screens, (pointer,)),
        "query_tree_children": (ctypes.POINTER(number), (pointer,)),
        "query_tree_children_length": (ctypes.c_int, (pointer,)),
        "get_property_value": (pointer, (pointer,)),
        "get_property_value_length": (ctypes.c_int, (pointer,)),
    }
    requests: dict[str, tuple[Any, ...]] = {
        "get_geometry": (number,),
        "query_tree": (number,),
        "get_property": (byte, number, number, number, number, number),
        "intern_atom": (byte, ctypes.c_uint16, ctypes.c_char_p),
    }
    for name, arguments in requests.items():
        signatures[name] = (_Cookie, (pointer, *arguments))
        signatures[f"{name}_reply"] = (pointer, (pointer, _Cookie, pointer))
    for name, (result, arguments) in signatures.items():
        function = getattr(xcb, f"xcb_{name}")
        function.restype, function.argtypes = result, arguments
    return xcb

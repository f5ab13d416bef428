"""A person, a window manager and other programs at a (virtual) screen, through libxcb."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

__all__ = ["XServer"]

WM_NAME = 39  # a predefined atom (X11 protocol, appendix B)
ANY_TYPE = 0
KEYCODES = {"q": 24, "e": 26, "s": 39, " ": 65}  # of the evdev layout, Xvfb's own
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

    `root` is the number of the screen's own window, 0 where there is no server.  Raises `OSError`
    where libxcb is missing.  Close it after use; then it knows of nothing.
    """

    def __init__(self) -> None:
        self._xcb = _library()
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = [ctypes.c_void_p]
        self._connection: int | None = self._xcb.xcb_connect(None, None)
        self.root = self._root()

    @property
    def alive(self) -> bool:
        """Whether the server was there when it was last asked."""
        connection = self._connection
        return connection is not None and not self._xcb.xcb_connection_has_error(connection)

    def has(self, window: int) -> bool:
        """Ask whether there is still such a window; False too where the server is gone."""
        (reply,) = self._ask("get_geometry", [(window,)])
        self._free(reply)
        return reply is not None

    def window(self, title: str) -> int | None:
        """The number of the window of that title, None where there is none."""
        windows = self._children([self.root])
        for window, name in zip(windows, self._properties(windows, WM_NAME), strict=True):
            if name == title.encode():
                return window
        return None

    def press(self, window: int, key: str) -> None:
        """Press and let go a key, of those of the window."""
        for kind in (2, 3):  # KeyPress, KeyRelease
            event = struct.pack(
                "=BBHIIIIhhhhHBx", kind, KEYCODES[key], 0, 0, self.root, window, 0, 5, 5, 5, 5, 0, 1
            )
            self._send(window, event)

    def ask_to_close(self, window: int) -> None:
        """What a window manager does for the button in the title bar."""
        client_message = 33
        atoms = self._atom(b"WM_PROTOCOLS"), self._atom(b"WM_DELETE_WINDOW")
        self._send(
            window, struct.pack("=BBHII5I", client_message, 32, 0, window, *atoms, *4 * (0,))
        )

    def destroy(self, window: int) -> None:
        self._xcb.xcb_destroy_window(ctypes.c_void_p(self._connection), window)
        self.has(self.root)  # it is done once a later question is answered

    def kill_client(self, window: int) -> None:
        """What xkill does."""
        self._xcb.xcb_kill_client(ctypes.c_void_p(self._connection), window)
        self.has(self.root)

    def _send(self, window: int, event: bytes) -> None:
        self._xcb.xcb_send_event(ctypes.c_void_p(self._connection), 0, window, 0, event)
        self.has(self.root)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._xcb.xcb_disconnect(connection)

    def _root(self) -> int:
        if not self.alive:
            return 0
        setup = self._xcb.xcb_get_setup(self._connection)
        return int(self._xcb.xcb_setup_roots_iterator(setup).screen[0])

    def _children(self, windows: list[int]) -> list[int]:
        found = []
        for reply in self._ask("query_tree", [(window,) for window in windows]):
            if reply is not None:
                count = self._xcb.xcb_query_tree_children_length(reply)
                found += self._xcb.xcb_query_tree_children(reply)[:count]
                self._free(reply)
        return found

    def _properties(self, windows: list[int], atom: int) -> list[bytes]:
        questions = [(0, window, atom, ANY_TYPE, 0, MAX_WORDS) for window in windows]
        values = []
        for reply in self._ask("get_property", questions):
            value = b""
            if reply is not None:
                length = self._xcb.xcb_get_property_value_length(reply)
                value = ctypes.string_at(self._xcb.xcb_get_property_value(reply), length)
                self._free(reply)
            values.append(value)
        return values

    def _atom(self, name: bytes) -> int:
        (reply,) = self._ask("intern_atom", [(0, len(name), name)])
        if reply is None:
            return 0
        atom = int.from_bytes(ctypes.string_at(reply + 8, 4), "little")
        self._free(reply)
        return atom

    def _ask(self, request: str, questions: Sequence[tuple[int | bytes, ...]]) -> list[int | None]:
        """The addresses of the server's answers, to be freed, in one round trip; None for errors.

        All questions are sent before the first answer is awaited: the server may be far away.
        """
        if self._connection is None:
            return [None] * len(questions)
        send, receive = (getattr(self._xcb, f"xcb_{request}{end}") for end in ("", "_reply"))
        cookies = [send(self._connection, *question) for question in questions]
        replies = [receive(self._connection, cookie, None) for cookie in cookies]
        return [None if reply is None else int(reply) for reply in replies]


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

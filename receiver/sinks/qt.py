"""The last words of Qt, OpenCV's window toolkit on Linux, before it ends the process.

Qt calls `exit` as soon as it notices that the X server is gone or has closed its connection, in the
middle of whatever it was asked to do.  It says so first, by a warning, and whoever hears that can
keep the thread from going on.  Where OpenCV has another toolkit nothing is heard.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["QtMessages"]

# void qInstallMessageHandler(void (*)(QtMsgType, const QMessageLogContext &, const QString &)), in
# the namespace of OpenCV's own wheels and without one.
_INSTALLERS = (
    "_ZN14QtOpenCVPython22qInstallMessageHandlerEPFvNS_9QtMsgTypeERKNS_18QMessageLogContextERKNS_7QStringEE",
    "_Z22qInstallMessageHandlerPFv9QtMsgTypeRK18QMessageLogContextRK7QStringE",
)
_MAPS = Path("/proc/self/maps")
_CORE = re.compile(r"/libQt[0-9]Core")
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class QtMessages:
    """Calls `on_message` before each of Qt's messages, in the thread that it comes from.

    Close it before the interpreter ends: Qt has messages even then.
    """

    def __init__(self, on_message: Callable[[], None]) -> None:
        self._install = _installer()
        if self._install is None:
            return

        former: Callable[[int, int, int], object] | None = None

        def heard(kind: int, context: int, text: int) -> None:
            on_message()
            if former is not None:  # else another thread's message came before it was known
                former(kind, context, text)

        self._handler = _Handler(heard)  # Qt holds the address alone
        former = _Handler(self._install(self._handler))

    def close(self) -> None:
        """Hear no more; may be called again."""
        if self._install is not None:
            self._install(_Handler())  # none: Qt's own
            self._install = None


def _installer() -> Any:
    """Qt's function, None where there is no Qt in this process."""
    core = _core()
    found = (getattr(core, name, None) for name in _INSTALLERS)
    install = next(filter(None, found), None)
    if install is not None:
        install.argtypes, install.restype = [_Handler], ctypes.c_void_p
    return install


def _core() -> ctypes.CDLL | None:
    """Qt's own library, as OpenCV has loaded it."""
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        return None
    path = next((line.split(maxsplit=5)[-1] for line in lines if _CORE.search(line)), None)
    try:
        return None if path is None else ctypes.CDLL(path)
    except OSError:  # the file was replaced since, and its name is followed by " (deleted)"
        return None

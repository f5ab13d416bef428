"""Whether the window still is where OpenCV's toolkit takes it to be, and what if it is not.

A window may be taken away: by another program (`xkill`), or with its whole screen.  The toolkit
must then not be asked for anything more; if it is at work already and about to end the process, it
is held, and with it its thread, for good.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

from receiver.sinks.qt import QtMessages
from receiver.sinks.xserver import XServer

__all__ = ["WindowGuard"]


class WindowGuard:
    """Guards this process's window of that title; belongs to the thread that made it.

    `on_held` is called last in that thread where the toolkit had to be held.  Raises `OSError`
    where libxcb is missing.
    """

    def __init__(self, title: str, *, on_held: Callable[[], None]) -> None:
        self._on_held = on_held
        self._thread = threading.get_ident()
        self._server = XServer()
        self._number = self._server.window(title)
        self._messages = QtMessages(self._toolkit_speaks)

    @property
    def there(self) -> bool:
        """Whether the window (once released, its screen) is there, as far as can be known."""
        return self._number is None or self._server.has(self._number)

    def release(self) -> None:
        """The window is about to be closed, as it should: what counts then is its screen."""
        if self._number is not None:
            self._number = self._server.root

    def close(self) -> None:
        self._messages.close()
        self._server.close()

    def _toolkit_speaks(self) -> None:
        """The toolkit has something to say: its last words?"""
        if threading.get_ident() == self._thread and not self.there:
            with ExitStack() as last:  # whatever fails in it: to return is to end the process
                last.callback(threading.Event().wait)
                last.callback(self._on_held)
                last.callback(self.close)

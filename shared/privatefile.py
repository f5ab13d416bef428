"""Files for their owner's eyes alone: pictures of a person, logs, pairing codes.

It refuses to leave half a file where a whole one is awaited, to write through a link that somebody
else has laid, and to keep the rights that an older file of the name gave to others.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

__all__ = ["check_writable", "make_private", "write_private"]

OWNER_ONLY = 0o600


def write_private(path: Path, content: bytes) -> None:
    """Put `content` at `path`, mode 0600, whole or not at all; an older file is replaced.

    Raises:
        OSError: it can't be; an older file is as it was.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)  # of a program that was killed
    try:
        with open(part, "xb", opener=_for_owner) as file:
            file.write(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def make_private(descriptor: int) -> None:
    """Take the open file from all but its owner, as far as the file system knows owners."""
    with suppress(OSError):
        if hasattr(os, "fchmod") and stat.S_ISREG(os.fstat(descriptor).st_mode):  # no device
            os.fchmod(descriptor, OWNER_ONLY)


def check_writable(folder: Path) -> None:
    """Make sure that files can be put into `folder`; leaves nothing there.

    Raises:
        OSError: they can't.
    """
    with TemporaryFile(dir=folder):
        pass


def _for_owner(name: str, flags: int) -> int:
    return os.open(name, flags, OWNER_ONLY)

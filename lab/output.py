"""How the laboratory's commands say that something can't be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import OutputFailed

__all__ = ["writing"]


@contextmanager
def writing(what: Path | str, *, hint: str = "") -> Iterator[None]:
    """Turn an `OSError` within into `OutputFailed`: "can't write `what`", and why."""
    try:
        yield
    except OSError as error:
        raise OutputFailed(f"can't write {what}: {error.strerror}", hint=hint) from error

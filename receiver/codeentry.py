"""Where a receiver's pairing code comes from, and whether it is asked for once more.

A person at a terminal who mistyped is asked again, while the sender still takes a try; a script
gets the error.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from shared.crypto.pairing import MAX_WRONG_TRIES, PairingCode
from shared.errors import BadInput, RoomUnavailable, VeilscopeError, WrongCode
from shared.terminal import EndOfInput, ask, can_ask_again, stdout, tell_error

__all__ = ["CodeEntry"]

CODE_FILE_POLL_S = 0.1


class CodeEntry:
    """The code given (`code`), that in `code_file`, which may yet have to appear, or one typed."""

    def __init__(self, code: PairingCode | None = None, code_file: Path | None = None) -> None:
        self._given = code
        self._file = code_file
        self._typed: PairingCode | None = None
        self._wrong: Counter[str] = Counter()  # tries, by the room

    async def code(self) -> PairingCode:
        """The code to pair with; asks for it where it was not given.

        Raises `BadInput` for what is no code, unless there is a person to ask again, and where
        nobody is going to type one.
        """
        if self._given is not None:
            return self._given
        if self._file is not None:
            return PairingCode.parse(await _text_in(self._file))
        while True:
            try:
                self._typed = PairingCode.parse(await ask("pairing code: "))
            except BadInput as error:
                hint = error.hint or "type it at the prompt, or give --code-file FILE"
                told = BadInput(str(error), hint=hint)
                if isinstance(error, EndOfInput) or not can_ask_again():
                    raise told from error
                tell_error(told)
            else:
                return self._typed

    def again(self, error: VeilscopeError) -> bool:
        """Whether to ask once more after pairing failed with `error`; if so, the person is told."""
        if self._typed is None or not can_ask_again():
            return False
        if isinstance(error, WrongCode):
            room = self._typed.nameplate
            self._wrong[room] += 1
            left = MAX_WRONG_TRIES - self._wrong[room]
            if left <= 0:
                return False
            tell_error(error)
            tries = "1 try is left" if left == 1 else f"{left} tries are left"
            stdout.print(f"{tries}, if nobody else tried this code", soft_wrap=True, markup=False)
            return True
        if isinstance(error, RoomUnavailable):  # the number may be what was mistyped
            tell_error(error)
            return True
        return False


async def _text_in(path: Path) -> str:
    text = await asyncio.to_thread(_read, path)
    if text is None:
        stdout.print(f"waiting for the code in {path}", soft_wrap=True, markup=False)
    while text is None:
        await asyncio.sleep(CODE_FILE_POLL_S)
        text = await asyncio.to_thread(_read, path)
    return text


def _read(path: Path) -> str | None:
    """The text of the file, None while there is no such file."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise BadInput(
            f"the code can't be read from {path}", hint="give the file that the sender wrote"
        ) from None

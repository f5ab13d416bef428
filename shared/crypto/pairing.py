"""The code that two people share by voice, and how often it may be tried.

`7-abandon-crystal-zebra`: the number (nameplate) names the room at the signaling server, which
knows it; the three words are the secret, and never leave the two machines.  Each word is one of the
2,048 of the BIP-39 English list, so the secret has 33 bits: ample against an attacker with three
guesses, and nothing against one with a hash of it, which is why it is only ever used in SPAKE2.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from functools import cache

from mnemonic import Mnemonic

from shared.errors import BadInput, CodeUsed, NotNow

__all__ = ["CODE_WORDS", "MAX_WRONG_TRIES", "PairingCode", "PairingTries"]

CODE_WORDS = 3  # of 11 bits each: 33 bits, one guess in 8.6 thousand million
MAX_WRONG_TRIES = 3  # a person mistypes once or twice; an attacker gets 3 in 2^33

_PREFIX_LETTERS = 4  # BIP-39 words are told apart by their first four letters
_NAMEPLATE = re.compile(r"[1-9][0-9]{0,5}")  # as the signaling server numbers its rooms
# Phones and word processors turn "-" into the dashes of U+2010 to U+2015.
_SEPARATORS = re.compile("[\\s\\-_.,\u2010-\u2015\u2212]+")
_SHAPE_HINT = "it is a number and three words, for example 7-abandon-crystal-zebra"


@cache
def _words() -> tuple[str, ...]:
    return tuple(Mnemonic("english").wordlist)


@dataclass(frozen=True, slots=True)
class PairingCode:
    """A code, used once.  `str(code)` is for the person; `repr(code)` hides the secret.

    `nameplate` is 1 to 6 decimal digits, `secret` the three words in full, in lower case, joined
    by dashes.
    """

    nameplate: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.nameplate}-{self.secret}"

    @classmethod
    def generate(cls, nameplate: str) -> PairingCode:
        """Make a new code for the room `nameplate`; raise `BadInput` if that is no number."""
        _check_nameplate(nameplate)
        return cls(nameplate, "-".join(secrets.choice(_words()) for _ in range(CODE_WORDS)))

    @classmethod
    def parse(cls, text: str) -> PairingCode:
        """Read a code as a person types it.

        Case does not matter; words may be parted by spaces, dashes, dots, commas or underscores,
        and cut to four letters or more.  Raise `BadInput`, which names a wrong word by its place
        and never repeats it.
        """
        parts = [part for part in _SEPARATORS.split(text.strip().lower()) if part]
        if len(parts) != 1 + CODE_WORDS:
            raise BadInput(
                f"a pairing code has {1 + CODE_WORDS} parts, not {len(parts)}", hint=_SHAPE_HINT
            )
        nameplate, *typed = parts
        _check_nameplate(nameplate)
        words = [_word(place, word) for place, word in enumerate(typed, start=1)]
        return cls(nameplate, "-".join(words))


def _check_nameplate(nameplate: str) -> None:
    if not _NAMEPLATE.fullmatch(nameplate):
        raise BadInput("a pairing code begins with the number of its room", hint=_SHAPE_HINT)


def _word(place: int, typed: str) -> str:
    words = _words()
    if typed in words:
        return typed
    if len(typed) >= _PREFIX_LETTERS:
        for word in words:
            if word.startswith(typed):
                return word
    raise BadInput(
        f"word {place} of the pairing code is not in the word list",
        hint="ask for that word again, letter by letter",
    )


class PairingTries:
    """How often one code has been tried: three wrong tries close it, one success spends it.

    Pure; the sender's session holds one per code.  Each handshake takes a try with `begin` and
    gives it back with exactly one of `wrong`, `abandoned` and `succeeded`.  Tries in progress count
    against the limit, so that opening many at once buys no further guess.
    """

    def __init__(self) -> None:
        self._wrong = 0
        self._pending = 0
        self._used = False

    @property
    def used(self) -> bool:
        """Whether the code has paired."""
        return self._used

    @property
    def over(self) -> bool:
        """Whether the code is spent: it has paired, or was tried wrongly too often."""
        return self._used or self._wrong >= MAX_WRONG_TRIES

    def begin(self) -> None:
        """Take a try; raise `CodeUsed` if the code is spent, `NotNow` if its last tries go on."""
        if self._used:
            raise _already_paired()
        if self._wrong >= MAX_WRONG_TRIES:
            raise CodeUsed(
                f"the code was tried wrongly {MAX_WRONG_TRIES} times and is no longer valid",
                hint="the sender shows a new code in a while: read that one out",
            )
        if self._wrong + self._pending >= MAX_WRONG_TRIES:
            raise NotNow(
                "too many others are trying this code at this moment",
                hint="try again in a moment, or ask the sender for a new code",
            )
        self._pending += 1

    def wrong(self) -> int:
        """Count a try whose code was wrong; return how many are left (0: close the code)."""
        self._finish()
        self._wrong += 1
        return MAX_WRONG_TRIES - self._wrong

    def abandoned(self) -> None:
        """Give back a try that ended before the receiver committed itself to a code."""
        self._finish()

    def succeeded(self) -> None:
        """Spend the code; raise `CodeUsed` if another try was faster.

        Call it before the sender's confirmation goes out.
        """
        self._finish()
        if self._used:
            raise _already_paired()
        self._used = True

    def _finish(self) -> None:
        if self._pending == 0:
            raise BadInput("a try was ended that had not begun")
        self._pending -= 1


def _already_paired() -> CodeUsed:
    return CodeUsed(
        "the code was used already: each code pairs once",
        hint="ask the sender for a new code",
    )

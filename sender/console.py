"""What the person at the sender sees: the pairing code, notices, and the live figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rich.text import Text

from sender.session import SenderSession
from sender.settings import SenderSettings
from shared.crypto.pairing import PairingCode
from shared.errors import BadInput, OutputFailed
from shared.privatefile import write_private
from shared.telemetry.live import LiveFacts, LiveState
from shared.terminal import stdout

__all__ = ["Console"]

NOTE_S = 15.0  # how long the newest notice stays in the panel; it was printed above it as well


class Console:
    """Of one run of the program; with `code_file` each code is written there too, for scripts."""

    def __init__(
        self,
        code_file: Path | None,
        signaling: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._code_file = code_file
        default = SenderSettings().signaling
        self._receive = "veilscope receive"
        if signaling != default:
            self._receive += f" --signaling {signaling}"
        self._clock = clock
        self._note = ""
        self._noted_at = 0.0

    def code(self, code: PairingCode) -> None:
        """Show a new code, which the next receiver pairs with."""
        if self._code_file is not None:
            _write_secret(self._code_file, f"{code}\n")
        stdout.print(Text.assemble("\npairing code:  ", (str(code), "bold green")), soft_wrap=True)
        stdout.print(
            f"Read it to the person at the receiver, who starts: {self._receive}\n"
            "It pairs one receiver, once.\n",
            soft_wrap=True,
        )

    def notice(self, text: str) -> None:
        """Something happened."""
        self._note, self._noted_at = text, self._clock()
        stdout.print(Text(text), soft_wrap=True)

    def facts(self, session: SenderSession, kind: str, *, ended: bool = False) -> LiveFacts:
        """What the panel shows now.

        The newest notice for a while, then what lasts, then why quality is as it is.
        """
        state: LiveState = "ended" if ended else "live" if session.receivers else "waiting"
        fresh = self._clock() - self._noted_at < NOTE_S
        lasting = "; ".join(notice.text for notice in session.lasting)
        return LiveFacts(
            role="sender",
            state=state,
            session=session.session_id,
            keystream=session.keystream.family if session.receivers else None,
            source=kind,
            figures=session.journal.snapshot(),
            note=self._note if fresh else lasting or session.journal.quality_reason,
        )

    def forget_code(self) -> None:
        """Remove the file: nothing pairs with a code in it."""
        if self._code_file is not None:
            with suppress(OSError, UnicodeDecodeError, BadInput):
                PairingCode.parse(self._code_file.read_text())  # a file of another kind stays
                self._code_file.unlink(missing_ok=True)


def _write_secret(path: Path, text: str) -> None:
    """Write `text` to a file that only this user can read, and that appears whole or not at all."""
    try:
        write_private(path, text.encode())
    except OSError as error:
        raise OutputFailed(
            f"the pairing code can't be written to {path}: {error.strerror}",
            hint="give another path with --code-file",
        ) from error

"""What one run of the keystream bench found."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.bench.timing import Spread
from shared.keystream.backend import Backend

__all__ = ["AES", "CHACHA", "Entry", "Measured", "Picture"]

AES = "AES-256-CTR"
CHACHA = "ChaCha20"


@dataclass(frozen=True, slots=True)
class Picture:
    """A raw picture's format."""

    title: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One family on one backend."""

    network: str
    device: str
    backend: Backend

    @property
    def title(self) -> str:
        return f"{self.network} on {self.device}"


@dataclass(slots=True)
class Measured:
    """All that one run found; times in seconds, by title or rival's name."""

    rounds: int
    threads: int
    entries: list[Entry]
    skipped: dict[str, str]
    """Title to the reason why it was not measured."""
    pictures: tuple[Picture, ...] = ()
    sizes: tuple[int, ...] = ()
    making: dict[int, dict[str, Spread]] = field(default_factory=dict)
    """Bytes a call to the time of one call (of each thread, with several)."""
    on_path_nbytes: int = 0
    on_path: dict[str, dict[str, Spread]] = field(default_factory=dict)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)

    def speed(self, name: str, nbytes: int) -> float:
        """Median MB/s of all threads together."""
        return self.threads * nbytes / self.making[nbytes][name].median_s / 1e6

"""What one run of the keystream bench found."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.bench.timing import Spread
from shared.keystream.backend import Backend

__all__ = ["AES", "CHACHA", "COPY", "PASSES", "XOR", "Entry", "Measured", "PictureResult"]

AES = "AES-256-CTR"
CHACHA = "ChaCha20"
COPY = "copy of a frame"
XOR = "XOR of two frames"
PASSES = {COPY: 2, XOR: 3}  # over memory for each byte; a keystream's own XOR takes 2


@dataclass(frozen=True, slots=True)
class PictureResult:
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
    pictures: tuple[PictureResult, ...] = ()
    sizes: tuple[int, ...] = ()
    making: dict[int, dict[str, Spread]] = field(default_factory=dict)
    """Bytes a call to the time of one call (of each thread, with several)."""
    on_path_nbytes: int = 0
    on_path: dict[str, dict[str, Spread]] = field(default_factory=dict)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    gpu: str = ""
    on_device: dict[int, dict[str, Spread]] = field(default_factory=dict)
    """Bytes of a frame in a GPU's memory to the device's time for XORing keystream onto it."""

    def speed(self, name: str, nbytes: int) -> float:
        """Median MB/s of all threads together."""
        return self.threads * nbytes / self.making[nbytes][name].median_s / 1e6

    def device_gb_per_s(self, name: str, nbytes: int) -> float:
        """Median GB/s of frames in a GPU's memory."""
        return nbytes / self.on_device[nbytes][name].median_s / 1e9

    def share_of_bus(self, name: str, nbytes: int) -> float:
        """Bytes moved to and from a GPU's memory, by those that torch's XOR moves in that time."""
        moved = PASSES.get(name, 2) * self.device_gb_per_s(name, nbytes)
        return moved / (PASSES[XOR] * self.device_gb_per_s(XOR, nbytes))

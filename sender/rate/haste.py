"""The quality of pictures that come faster than the machine has time for fine ones.

Fewer bits are less work for everybody from here to the far end's screen, and each is worth less
than a picture left out.  Who prefers sharp pictures, or set a floor to their PSNR, gets fewer
pictures instead.

Pure: the source's frame rate in, a quality and the reason of a change out.
"""

from __future__ import annotations

from sender.rate.plan import StreamFacts, Wishes

__all__ = ["HURRIED_QUALITY", "Haste"]

# 1080p at 60 on two cores is 62e6: at quality 90 a picture takes 42 ms of processor at both ends
# together; at 75 (41 dB instead of 45, a fifth of the bits) 23 of the 33 there are.
HURRIED_PIXELS_A_CORE = 40e6  # a second
HURRIED_QUALITY = 75


class Haste:
    """Of one stream; once in haste it stays so: finer again, it would soon be late again."""

    def __init__(self, facts: StreamFacts, wishes: Wishes) -> None:
        self._facts = facts
        self._best = wishes.quality
        coarser_is_faster = facts.inter and not facts.lossless
        self._may = coarser_is_faster and wishes.prefer == "smooth" and wishes.min_psnr_db is None
        self._hurried = False

    @property
    def hurried(self) -> bool:
        """Whether pictures come too fast for fine ones."""
        return self._hurried

    @property
    def quality(self) -> int:
        """What the encoder may go up to."""
        return min(self._best, HURRIED_QUALITY) if self._hurried else self._best

    def settle(self, fps: float) -> str | None:
        """The source gives `fps` pictures a second; the reason if the quality fell for it."""
        facts, before = self._facts, self.quality
        rate = facts.width * facts.height * fps
        if self._may and rate > HURRIED_PIXELS_A_CORE * facts.cores:
            self._hurried = True
        if self.quality == before:
            return None
        return f"quality lowered: {rate / 1e6:.0f} Mpixel/s are much for this machine"

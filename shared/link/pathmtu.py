"""The size of packet that the path carries, found by asking it (RFC 8899, DPLPMTUD).

Pure: times and acknowledgements in, probes and deadlines out.  A probe is a link message padded to
a size; an acknowledgement names it, and a size whose probe is acknowledged passes.  No ICMP message
is needed or believed.  Sizes are bytes of link message: what the path adds is told with `reset`.

Probes leave in bursts, all at once and so within one round trip: a *witness* of a size that is
known to pass, the sizes that would be liked, and the least of those that failed before.  A size has
failed when the witness came and it did not, `MAX_PROBES` times: so neither one lost packet nor an
outage is taken for a small path.  The phases are RFC 8899's (section 5.2):

    BASE       until the least size passes, and until something tells that it does not
    SEARCHING  what passes is in use, and more is tried
    COMPLETE   nothing more is to be found; tried again after `RAISE_AFTER_NS`
    DOUBTED    full packets were lost in a row: is it their size?  (a black hole, section 4.3)
    ERROR      not even the least size passes, although smaller packets do

In use is at any time the largest size that passed, and `LEAST_MESSAGE_BYTES` before any has.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from shared.errors import LinkFailed, MalformedFrame
from shared.link.messages import LARGEST_MESSAGE_BYTES, LEAST_MESSAGE_BYTES, OVERHEAD_BYTES

__all__ = [
    "PROBE",
    "PROBE_ACK",
    "PathMtu",
    "Phase",
    "ProbeAck",
    "answer_probe",
    "pack_probe",
    "parse_probe_ack",
]

# first bytes of the messages, on the frames channel
PROBE = 7
PROBE_ACK = 8
_PROBE = struct.Struct(">BI")  # kind, number; then zeros up to the size
_PROBE_ACK = struct.Struct(">BIH")  # kind, number, size as it came

TINY_BYTES = 16  # what passes wherever a link could be opened
STEP_BYTES = 4  # SCTP pads messages to it
GRAIN_BYTES = 8  # within twice that the size is known well enough: one percent of a packet

# On the wire, tried first: IPv6's least, what tunnels leave of Ethernet, and Ethernet.
COMMON_PACKET_BYTES = (1280, 1400, 1500)
STEPS = 3  # sizes a burst between what passes and what does not

MAX_PROBES = 3  # RFC 8899 section 5.1.2
ANSWER_SLACK_NS = 60_000_000  # beyond the round trip, for two busy event loops
TOGETHER_NS = 25_000_000  # a burst leaves at once; so soon after its first all of it is here
WAIT_MOST_NS = 1_000_000_000  # between bursts of which nothing comes: the path may be down
RAISE_AFTER_NS = 600_000_000_000  # 600 s: RFC 8899's PMTU_RAISE_TIMER
ASK_AGAIN_NS = 5_000_000_000  # 5 s, where not even the least size passes

# Full packets lost in a row, none of their size having come, before their size is doubted.  A path
# that loses a fifth of all does so once in 15,000 packets, and it costs it two probes.
DOUBT_AFTER_LOST = 6

REMEMBERED_BURSTS = 4  # whose late acknowledgements still count


class Phase(Enum):
    """What the search is about; see the module."""

    BASE = "base"
    SEARCHING = "searching"
    COMPLETE = "complete"
    DOUBTED = "doubted"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ProbeAck:
    """The other end's word that a probe has come, and of what size it was."""

    number: int
    nbytes: int


def pack_probe(number: int, nbytes: int) -> bytes:
    """A probe of `nbytes`."""
    return _PROBE.pack(PROBE, number) + bytes(nbytes - _PROBE.size)


def answer_probe(message: bytes) -> bytes:
    """The acknowledgement of a probe, never larger than it; raises `MalformedFrame`."""
    if not TINY_BYTES <= len(message) <= LARGEST_MESSAGE_BYTES or message[0] != PROBE:
        raise MalformedFrame("not a probe, or of an impossible size")
    return _PROBE_ACK.pack(PROBE_ACK, _PROBE.unpack_from(message)[1], len(message))


def parse_probe_ack(message: bytes) -> ProbeAck:
    """Read an acknowledgement; raises `MalformedFrame`."""
    if len(message) != _PROBE_ACK.size or message[0] != PROBE_ACK:
        raise MalformedFrame("not an acknowledgement of a probe")
    return ProbeAck(*_PROBE_ACK.unpack(message)[1:])


class PathMtu:
    """One direction of one path: send what `poll` gives when `due_ns` says, and tell of acks.

    Where the other end has not the feature `packet-sizes` there is none of these, and packets are
    of the one size.
    """

    def __init__(self, now_ns: int, *, overhead_bytes: int = OVERHEAD_BYTES) -> None:
        self._phase = Phase.BASE
        self._doubted_in = Phase.BASE  # the phase that doubt came in
        self._passing = TINY_BYTES  # the largest size that passed
        self.message_bytes = LEAST_MESSAGE_BYTES  # what frames are cut to now (`messages.cut`)
        self._missed: dict[int, int] = {}  # size above that: how often it was missed
        self._number = 0  # of the next probe
        self._burst: dict[int, int] = {}  # number: size, of the burst under way and not there
        self._asked: dict[int, int] = {}  # the same of all that may still be acknowledged
        self._came = False  # whether anything of the burst has come
        self._unanswered = 0  # bursts in a row of which nothing came
        self._together_ns = TOGETHER_NS
        self.due_ns = (
            now_ns  # when to call `poll`, unless an acknowledgement or a loss comes before
        )
        self._lost: list[int] = []  # sizes of packets, none as large having come since
        self.reset(now_ns, overhead_bytes=overhead_bytes)

    # -- what is known ----------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """What the search is about now."""
        return self._phase

    @property
    def packet_bytes(self) -> int:
        """The largest IP packet that is known to pass, or is taken to; what a person is told."""
        return self.message_bytes + self._overhead_bytes

    @property
    def doubts(self) -> bool:
        """Whether packets were lost and none as large has come since: `on_fates` wants to know."""
        return bool(self._lost)

    def failure(self) -> LinkFailed | None:
        """Why no picture can pass, if it is this; small packets do pass then."""
        if self._phase is not Phase.ERROR:
            return None
        return LinkFailed(
            f"the network path's packet size (MTU) is too small: packets of"
            f" {self.packet_bytes} bytes do not pass, smaller ones do",
            hint="a tunnel or VPN on the way may be set too small; 576 bytes are the least",
        )

    # -- probes out -------------------------------------------------------------------------------

    def reset(self, now_ns: int, *, overhead_bytes: int = OVERHEAD_BYTES) -> None:
        """Begin anew: the path is another one.

        `overhead_bytes`: what is between a message and its IP packet there (`OVERHEAD_BYTES`,
        `OVERHEAD_IPV6_BYTES`, 4 more by way of a TURN server).
        """
        self._overhead_bytes = overhead_bytes
        self._largest = min(LARGEST_MESSAGE_BYTES, self._fitting(COMMON_PACKET_BYTES[-1]))
        self._asked = {}
        self._search(Phase.BASE, TINY_BYTES, now_ns)

    def poll(self, now_ns: int, rtt_ns: int) -> list[bytes]:
        """The probes that are to leave now, all at once."""
        if now_ns < self.due_ns:
            return []
        if self._phase is Phase.COMPLETE:  # a while ago: the path may carry more by now
            self._search(Phase.SEARCHING, self._passing, now_ns)
        elif self._phase is not Phase.ERROR and not self._judge(now_ns):
            return []
        sizes = self._sizes()
        first = self._number
        self._number += len(sizes)
        self._burst = {(first + index) % 2**32: nbytes for index, nbytes in enumerate(sizes)}
        self._came = False
        self._together_ns = TOGETHER_NS + rtt_ns // 4
        self._asked.update(self._burst)
        while len(self._asked) > REMEMBERED_BURSTS * (STEPS + 3):
            del self._asked[next(iter(self._asked))]
        if self._phase is Phase.ERROR:
            self.due_ns = now_ns + ASK_AGAIN_NS
        else:
            wait_ns = (rtt_ns + rtt_ns // 2 + ANSWER_SLACK_NS) << min(self._unanswered, 4)
            self.due_ns = now_ns + min(WAIT_MOST_NS, wait_ns)
        return [pack_probe(number, nbytes) for number, nbytes in self._burst.items()]

    def _sizes(self) -> list[int]:
        """A burst's sizes, rising: the witness, those that would be liked, the least that failed.

        The witness of BASE and ERROR is tiny, and its first step the least size.
        """
        if self._phase is Phase.DOUBTED:
            return [LEAST_MESSAGE_BYTES, self._passing]
        if self._unanswered >= MAX_PROBES:  # the path is down: is it back?
            return [self._passing]
        suspect = min(self._missed, default=None)
        top = self._largest if suspect is None else suspect
        sizes = {self._passing}
        if self._passing < LEAST_MESSAGE_BYTES:
            sizes.add(LEAST_MESSAGE_BYTES)
        if suspect is None:
            common = map(self._fitting, COMMON_PACKET_BYTES)
            sizes.update(nbytes for nbytes in common if self._passing < nbytes <= top)
        elif top > LEAST_MESSAGE_BYTES:
            low = max(self._passing, LEAST_MESSAGE_BYTES)
            parts = min(STEPS + 1, (top - low) // GRAIN_BYTES)
            for part in range(1, parts):
                sizes.add((low + (top - low) * part // parts) // STEP_BYTES * STEP_BYTES)
        if self._missed.get(top, 0) < MAX_PROBES or top == LEAST_MESSAGE_BYTES:
            sizes.add(top)
        return sorted(sizes)

    def _fitting(self, packet_bytes: int) -> int:
        """The largest message whose IP packet is no larger."""
        return (packet_bytes - self._overhead_bytes) // STEP_BYTES * STEP_BYTES

    # -- what becomes of them ---------------------------------------------------------------------

    def on_ack(self, ack: ProbeAck, now_ns: int) -> None:
        """A probe has come; one that was not sent, or was of another size, says nothing."""
        if self._asked.get(ack.number) != ack.nbytes:
            return
        del self._asked[ack.number]
        if self._phase is Phase.DOUBTED:
            if ack.nbytes >= self._passing:  # it is not their size
                self._resume(now_ns)
                return
        elif ack.nbytes > self._passing:
            self._pass(ack.nbytes)
            for nbytes in [nbytes for nbytes in self._missed if nbytes <= ack.nbytes]:
                del self._missed[nbytes]
            if ack.nbytes >= LEAST_MESSAGE_BYTES:
                self._phase = Phase.SEARCHING
            if ack.nbytes >= self._largest:
                self._complete(now_ns)
                return
        if ack.number in self._burst:
            del self._burst[ack.number]
            self._came = True
            self._unanswered = 0
            if self._phase is not Phase.ERROR:
                wait_ns = self._together_ns if self._burst else 0
                self.due_ns = min(self.due_ns, now_ns + wait_ns)

    def on_fates(self, arrived: Sequence[int], lost: Sequence[int], now_ns: int) -> None:
        """Packets of frames have arrived, or were found lost: the sizes of their messages."""
        if not (lost or self._lost) or self._phase is Phase.DOUBTED:
            return
        # What was lost says something of its size until a packet as large comes, and nothing of
        # the size in use if it is larger than that: it left before.
        came = max(arrived, default=LEAST_MESSAGE_BYTES)
        self._lost = [n for n in (*self._lost, *lost) if came < n <= self._passing]
        if len(self._lost) >= DOUBT_AFTER_LOST:
            self._doubted_in, self._phase = self._phase, Phase.DOUBTED
            self._burst, self._came, self._unanswered = {}, False, 0
            self._asked.clear()
            self.due_ns = now_ns

    def _resume(self, now_ns: int) -> None:
        """Doubt was unfounded."""
        if self._doubted_in is Phase.COMPLETE:
            self._complete(now_ns)
        else:
            self._search(Phase.SEARCHING, self._passing, now_ns)

    def _judge(self, now_ns: int) -> bool:
        """A burst's time is over; return whether to ask more.

        What has not come of it is missed, if its witness did.
        """
        missed, self._burst = sorted(self._burst.values()), {}
        if not self._came:
            self._unanswered += 1  # the path is down, or nothing was asked yet
            return True
        self._came = False
        if self._phase is Phase.DOUBTED:  # the least size came, the other did not
            self._search(Phase.SEARCHING, LEAST_MESSAGE_BYTES, now_ns)
            return True
        for nbytes in missed:
            if nbytes > self._passing:
                self._missed[nbytes] = self._missed.get(nbytes, 0) + 1
        suspect = min(self._missed, default=None)
        if suspect is None or self._missed[suspect] < MAX_PROBES:
            return True
        if suspect <= LEAST_MESSAGE_BYTES:
            self._phase, self.due_ns = Phase.ERROR, now_ns + ASK_AGAIN_NS
        elif suspect - self._passing < 2 * GRAIN_BYTES:
            self._complete(now_ns)
        else:
            return True
        return False

    def _search(self, phase: Phase, passing: int, now_ns: int) -> None:
        """Search upwards from a size that passes."""
        self._phase = self._doubted_in = phase
        self._pass(passing)
        self._missed = {}
        self._burst = {}
        self._came = False
        self._unanswered = 0
        self._lost = []
        self.due_ns = now_ns

    def _pass(self, nbytes: int) -> None:
        self._passing = nbytes
        self.message_bytes = max(LEAST_MESSAGE_BYTES, nbytes)

    def _complete(self, now_ns: int) -> None:
        self._phase = Phase.COMPLETE
        self._burst, self._lost, self._unanswered = {}, [], 0
        self.due_ns = now_ns + RAISE_AFTER_NS

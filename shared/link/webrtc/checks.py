"""Connectivity checks between two ends (RFC 8445) and consent on the path they found (RFC 7675).

Pure: datagrams and times in; datagrams, the selected pair and the next deadline out.  It opens no
socket, reads no clock and never gives up: whoever drives it does.

- From `start` on each base (a socket of ours, or a relay's) is paired with each address of the
  other end, and pairs are checked one by one until one is *selected*.  The controlling end
  nominates it.
- The selected pair is asked for consent now and then, and at once when nothing was heard on it for
  a while.  When it stays *silent*, all other pairs are checked too, and whichever answers is
  selected in its place: the path has moved, or it is back.
- Checks of the other end that come from an address not known yet make it known (section 7.3.1.3),
  and are answered by a check of ours.  Nothing else ever moves a path: only an answer, under the
  password of this session, to what we asked just there.

Whoever knows the session's password may still lie about addresses.  So checks to an address that
never answered are bounded, in all and by time, and so are the addresses and requests kept of it.
"""

from __future__ import annotations

import enum
import ipaddress
from collections import OrderedDict
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aioice import stun

__all__ = ["Address", "Base", "Checks", "Credentials", "CheckedPair", "PairState", "is_stun"]

Address = tuple[str, int]
"""An IP address without a scope, and a port."""

PACE_S = 0.02  # between two new checks (Ta of RFC 8445 section 14.2 is at least 5 ms)
RETRY_S = (0.2, 0.4, 0.8, 1.6, 2.0)  # between the tries of one pair; the last again and again
TRANSACTION_S = 6.0  # an answer after that is none
RELAY_WAIT_S = 0.3  # how long a direct pair may still come before a relayed one is nominated

TICK_S = 0.1  # how often the selected pair is looked at
QUIET_S = 0.2  # nothing heard on the selected pair for so long: ask
SILENT_S = 0.4  # … and for so long, though asked: look elsewhere too
SEARCH_S = 0.25  # between two looks elsewhere, and
SLOW_SEARCH_S = 0.5  # after a while, so that the path is back within 1 s of its return
SLOW_AFTER_S = 5.0
CONSENT_S = 2.5  # RFC 7675 has 5 s; what is heard in between is no proof of who said it
UNSURE_AFTER_S = 3 * CONSENT_S  # consent not given for so long is silence, whatever is heard
CONSENT_EXPIRES_S = 30.0  # RFC 7675 section 5.1: nothing but checks is sent after that
BETTER_S = 2.0  # between two tries of direct pairs while the selected one is relayed

MAX_PAIRS = 100  # RFC 8445 section 6.1.2.5
MAX_REMOTES = 16 + 16  # told by description, and learned from checks
MAX_SEARCHED = 16  # pairs a look elsewhere
MAX_UNPROVEN_TRIES = 2  # of a pair in a look elsewhere, if its address never answered
MAX_UNPROVEN = 100  # checks to addresses that never answered (RFC 8445 section 19.5.1)
MAX_EARLY = 16
MAX_TRANSACTIONS = 512

_COOKIE = b"\x21\x12\xa4\x42"  # RFC 8489 section 5
_HEADER_BYTES = 20
MAX_CHECK_BYTES = 512  # ours have 100, browsers' up to 200
_TYPE_PREFERENCE = {"host": 126, "prflx": 110, "srflx": 100, "relay": 0}  # RFC 8445 section 5.1.2.2
_PEER_REFLEXIVE_PREFERENCE = 110 << 24 | 65535 << 8 | 255


def is_stun(data: bytes) -> bool:
    """Whether a datagram is a STUN message and not DTLS (RFC 7983)."""
    return len(data) >= _HEADER_BYTES and data[0] < 4 and data[4:8] == _COOKIE


@dataclass(frozen=True, slots=True)
class Credentials:
    """One end's user name fragment and password, good for one session (RFC 8445 section 5.3)."""

    ufrag: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Base:
    """Where we send from: a socket of ours, or a relay's; `preference` (to 65535) orders them."""

    number: int
    host: str
    relayed: bool = False
    preference: int = 65535

    @property
    def priority(self) -> int:
        """RFC 8445 section 5.1.2.1."""
        return (
            _TYPE_PREFERENCE["relay" if self.relayed else "host"] << 24 | self.preference << 8 | 255
        )


class PairState(enum.Enum):
    """How the checks stand."""

    NEW = "not started"
    CHECKING = "no pair is selected"
    CONNECTED = "the selected pair answers"
    SILENT = "the selected pair does not answer"


@dataclass(slots=True)
class _Remote:
    """An address of the other end."""

    address: Address
    kind: str
    priority: int
    proven: bool = False  # whether it ever answered
    asked: bool = False  # whether a genuine request came from there


@dataclass(eq=False, slots=True)
class CheckedPair:
    """A base of ours and an address of the other end."""

    base: Base
    remote: _Remote
    priority: int
    tries: int = 0
    due: float = 0.0
    asked_at: float = -1e9
    answered_at: float = -1e9
    nominated: bool = False  # by the other end

    @property
    def relayed(self) -> bool:
        """Whether a TURN server is known to be in between."""
        return self.base.relayed or self.remote.kind == "relay"


class _Bucket:
    """`burst` at once, and `per_s` on average."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._at = float(burst), float("inf")

    def take(self, now: float) -> bool:
        since_s = max(0.0, now - self._at)
        self._left = min(self._burst, self._left + since_s * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Budget:
    """What a link spends on addresses, over all its ICE sessions: a restart brings no new one.

    `unproven`: checks to addresses that never answered.  `triggered`: those to addresses from
    which a genuine request came.  `looks`: requests held against our password, some 10 µs each;
    so many that a flood of forged ones, by who has seen our user name, hides no genuine one soon.
    `requests` and `strange`: genuine ones answered, from addresses that have answered and others.
    """

    def __init__(self) -> None:
        self.unproven = _Bucket(0.2, MAX_UNPROVEN)
        self.triggered = _Bucket(4, 16)
        self.looks = _Bucket(1000, 2000)
        self.requests = _Bucket(100, 200)
        self.strange = _Bucket(50, 100)


class Checks:
    """One ICE session's checks; `dice` only spreads them in time.

    After each call: send `take_datagrams()`, look at `selected` and `state`, and call `advance` at
    `due` (None: nothing to wait for).  Set `heard` when anything came on the selected pair.
    """

    def __init__(
        self,
        local: Credentials,
        *,
        controlling: bool,
        tie_breaker: int,
        dice: Random,
        budget: Budget | None = None,
    ) -> None:
        self.local = local
        self.remote: Credentials | None = None
        self.controlling = controlling
        self.selected: CheckedPair | None = None
        self.state = PairState.NEW
        self.heard = False
        self.due: float | None = None
        self._tie_breaker = tie_breaker
        self._dice = dice
        self._user = local.ufrag.encode() + b":"
        self._bases: dict[Base, bool] = {}  # in order; whether each still works
        self._remotes: dict[Address, _Remote] = {}
        self._pairs: dict[tuple[Base, Address], CheckedPair] = {}
        self._out: list[tuple[Base, Address, bytes]] = []
        self._transactions: OrderedDict[bytes, tuple[CheckedPair, float]] = OrderedDict()
        # by whom, priority, nominated
        self._early: dict[tuple[Base, Address], tuple[int, bool]] = {}
        self._rtt_s = 0.0
        self._first_answer_at: float | None = None
        self._consent_at = self._consent_due = self._heard_at = 0.0
        self._search_at = self._better_at = self._silent_since = 0.0
        self._budget = Budget() if budget is None else budget

    # -- what there is to check -------------------------------------------------------------------

    def add_base(self, base: Base) -> None:
        """Check from here too."""
        self._bases[base] = True
        for remote in list(self._remotes.values()):
            self._pair(base, remote)
        if self.remote is not None:
            self._search_at = -1e9
            self._sooner(0.0)

    def remove_base(self, base: Base) -> None:
        """It is gone; if the selected pair begins there, the path has to move."""
        self._bases.pop(base, None)
        for key in [key for key in self._pairs if key[0] == base]:
            del self._pairs[key]
        if self.selected is not None and self.selected.base == base:
            self._heard_at = -1e9
            self._sooner(0.0)

    def base_failed(self, base: Base) -> None:
        """Nothing can be sent from it now: no need to wait for silence."""
        if self.selected is not None and self.selected.base == base:
            self.heard = False
            self._heard_at = min(self._heard_at, self._consent_at) - SILENT_S
            self._sooner(0.0)

    def add_remote(self, address: Address, kind: str, priority: int) -> None:
        """The other end may be reached there."""
        known = self._remotes.get(address)
        if known is not None:
            if known.kind == "prflx":
                known.kind, known.priority = kind, priority
            return
        if len(self._remotes) < MAX_REMOTES // 2:
            self._remotes[address] = remote = _Remote(address, kind, priority)
            for base in self._bases:
                self._pair(base, remote)

    @property
    def remotes(self) -> tuple[Address, ...]:
        """The other end's addresses, as far as they are known."""
        return tuple(self._remotes)

    def knows(self, source: Address) -> bool:
        """Whether the other end was heard there, by a check of its or by an answer to one of ours.

        It sends data from nowhere else (RFC 8445 section 12.1: on a pair that it has checked).
        """
        remote = self._remotes.get(source)
        return remote is not None and (remote.asked or remote.proven)

    def _pair(self, base: Base, remote: _Remote) -> CheckedPair | None:
        key = base, remote.address
        if key in self._pairs:
            return self._pairs[key]
        if not _can_reach(base.host, remote.address[0]):
            return None
        ours, theirs = base.priority, remote.priority
        g, d = (ours, theirs) if self.controlling else (theirs, ours)
        # RFC 8445 section 6.1.2.3
        pair = CheckedPair(base, remote, (min(g, d) << 32) + 2 * max(g, d) + (g > d))
        if len(self._pairs) >= MAX_PAIRS:
            self._drop_a_pair()
        self._pairs[key] = pair
        return pair

    def _drop_a_pair(self) -> None:
        spare = [pair for pair in self._pairs.values() if pair is not self.selected]
        worst = min(spare, key=lambda pair: (pair.remote.proven, pair.answered_at, pair.priority))
        del self._pairs[worst.base, worst.remote.address]

    def silent_s(self, now: float) -> float:
        """For how long other pairs have been looked for; 0 while the selected one answers."""
        return now - self._silent_since if self.state is PairState.SILENT else 0.0

    # -- time -------------------------------------------------------------------------------------

    def start(self, remote: Credentials, now: float) -> None:
        """Begin to check; what the other end asked before is answered by checks first."""
        self.remote = remote
        self.state = PairState.CHECKING
        early, self._early = self._early, {}
        for (base, source), (priority, nominated) in early.items():
            if base in self._bases:
                self._trigger(base, source, priority, nominated, now)
        self._sooner(now)

    def advance(self, now: float) -> None:
        """Do what is due."""
        self.due = None
        if self.remote is None:
            return
        if self.selected is None:
            self._check(now)
        else:
            self._keep(now)

    def _sooner(self, at: float) -> None:
        self.due = at if self.due is None else min(self.due, at)

    def _check(self, now: float) -> None:
        """The next check, while no pair is selected."""
        if self.controlling and self._first_answer_at is not None:
            best = self._best_answered(now)
            if best is not None:
                if not best.relayed or now - self._first_answer_at >= RELAY_WAIT_S:
                    self._select(best, now)
                    return
                self._sooner(self._first_answer_at + RELAY_WAIT_S)
        ready = [pair for pair in self._pairs.values() if pair.due <= now]
        if ready:
            self._ask(min(ready, key=lambda pair: (pair.tries, -pair.priority)), now)
        upcoming = min((pair.due for pair in self._pairs.values()), default=now + 1.0)
        self._sooner(max(upcoming, now + PACE_S))

    def _best_answered(self, now: float) -> CheckedPair | None:
        answered = [p for p in self._pairs.values() if now - p.answered_at < TRANSACTION_S]
        return max(answered, key=lambda pair: (not pair.relayed, pair.priority), default=None)

    def _keep(self, now: float) -> None:
        """Consent of the selected pair, and the way round its silence."""
        pair = self.selected
        assert pair is not None  # noqa: S101
        if self.heard:
            self._heard_at, self.heard = now, False
        quiet_s = now - self._heard_at
        unsure = now - self._consent_at >= UNSURE_AFTER_S
        wanted = (quiet_s >= QUIET_S or unsure) and now - pair.asked_at >= QUIET_S
        if wanted or now >= self._consent_due:
            self._ask(pair, now, nominate=self.controlling)
            self._consent_due = now + CONSENT_S * self._dice.uniform(0.8, 1.2)
        if unsure or quiet_s >= max(SILENT_S, QUIET_S + 2 * self._rtt_s):
            if self.state is not PairState.SILENT:
                self.state, self._silent_since = PairState.SILENT, now
                self._search_at = now
                for other in self._pairs.values():
                    other.tries = 0
            if now >= self._search_at:
                self._search(now)
        elif pair.base in self._bases:
            self.state = PairState.CONNECTED
            if pair.relayed and self.controlling and now >= self._better_at:
                self._better_at = now + BETTER_S
                self._search(now, direct=True)
        self._sooner(now + TICK_S)

    def _search(self, now: float, direct: bool = False) -> None:
        """Check pairs other than the selected one, those first whose address ever answered."""
        lasting_s = now - self._silent_since
        self._search_at = now + (SEARCH_S if lasting_s < SLOW_AFTER_S else SLOW_SEARCH_S)
        others = [
            pair
            for pair in self._pairs.values()
            if pair is not self.selected
            and (pair.remote.proven or pair.tries < MAX_UNPROVEN_TRIES)
            and not (direct and (pair.relayed or not pair.remote.proven))
        ]
        others.sort(key=lambda pair: (not pair.remote.proven, pair.tries, -pair.priority))
        for pair in others[:MAX_SEARCHED]:
            self._ask(pair, now)

    # -- requests of ours -------------------------------------------------------------------------

    def _ask(self, pair: CheckedPair, now: float, nominate: bool = False) -> None:
        """Send a check of a pair, unless its address has had its share unanswered."""
        pair.due = now + RETRY_S[min(pair.tries, len(RETRY_S) - 1)]
        pair.tries += 1
        if pair.base not in self._bases:
            return
        if not pair.remote.proven and not self._budget.unproven.take(now):
            return
        self._send_check(pair, now, nominate)

    def _send_check(self, pair: CheckedPair, now: float, nominate: bool = False) -> None:
        remote = self.remote
        assert remote is not None  # noqa: S101
        request = stun.Message(
            stun.Method.BINDING,
            stun.Class.REQUEST,
            attributes={
                "USERNAME": f"{remote.ufrag}:{self.local.ufrag}",
                "PRIORITY": _PEER_REFLEXIVE_PREFERENCE,
                "ICE-CONTROLLING" if self.controlling else "ICE-CONTROLLED": self._tie_breaker,
            },
        )
        if nominate and self.controlling:
            request.attributes["USE-CANDIDATE"] = None
        request.add_message_integrity(remote.password.encode())
        pair.asked_at = now
        self._transactions[request.transaction_id] = pair, now
        while len(self._transactions) > MAX_TRANSACTIONS:
            self._transactions.popitem(last=False)
        self._out.append((pair.base, pair.remote.address, bytes(request)))

    def take_datagrams(self) -> list[tuple[Base, Address, bytes]]:
        """What is to be sent: from where, whither, what."""
        out, self._out = self._out, []
        return out

    # -- what arrives -----------------------------------------------------------------------------

    def receive(self, base: Base, source: Address, data: bytes, now: float) -> None:
        """Take a STUN message that came to `base`; what is not the other end's is passed over.

        No error is answered to a stranger: it would cost more than the request, and may go to
        somebody who never asked.
        """
        if data[8:_HEADER_BYTES] in self._transactions:
            message = _parsed(data)
            if message is not None and message.message_class in _ANSWERS:
                self._answered(base, source, message, now)
            return
        if self._user not in data or len(data) > MAX_CHECK_BYTES:  # cheaper than to parse a flood
            return
        if not self._budget.looks.take(now):
            return
        message = _parsed(data)
        if message is None or not self._is_genuine(message):
            return
        remote = self._remotes.get(source)
        known = remote is not None and remote.proven
        if (self._budget.requests if known else self._budget.strange).take(now):
            self._requested(base, source, message, now)

    def _is_genuine(self, message: stun.Message) -> bool:
        """Whether a request is under this session's user names and our password."""
        if message.message_class != stun.Class.REQUEST:
            return False
        if message.message_method != stun.Method.BINDING:
            return False
        ours, _, theirs = message.attributes.get("USERNAME", "").partition(":")
        if ours != self.local.ufrag:
            return False
        if self.remote is not None and theirs != self.remote.ufrag:
            return False
        return message.check_message_integrity(self.local.password.encode())

    def _requested(self, base: Base, source: Address, message: stun.Message, now: float) -> None:
        if base not in self._bases:
            return
        conflict = message.attributes.get(
            "ICE-CONTROLLING" if self.controlling else "ICE-CONTROLLED"
        )
        if conflict is not None:  # RFC 8445 section 7.3.1.1
            if self.controlling == (self._tie_breaker >= conflict):
                self._answer(base, source, message, {"ERROR-CODE": (487, "Role Conflict")})
                return
            self.controlling = not self.controlling
        self._answer(base, source, message, {"XOR-MAPPED-ADDRESS": source})
        priority = message.attributes.get("PRIORITY", 0)
        nominated = "USE-CANDIDATE" in message.attributes and not self.controlling
        if self.remote is not None:
            self._trigger(base, source, priority, nominated, now)
        elif (base, source) in self._early or len(self._early) < MAX_EARLY:
            self._early[base, source] = priority, nominated

    def _answer(
        self, base: Base, source: Address, request: stun.Message, attributes: dict[str, Any]
    ) -> None:
        error = "ERROR-CODE" in attributes
        answer = stun.Message(
            stun.Method.BINDING,
            stun.Class.ERROR if error else stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
            attributes=attributes,
        )
        answer.add_message_integrity(self.local.password.encode())
        self._out.append((base, source, bytes(answer)))

    def _trigger(
        self, base: Base, source: Address, priority: int, nominated: bool, now: float
    ) -> None:
        """A genuine request came: learn its address, check back, follow its nomination."""
        remote = self._remotes.get(source)
        if remote is None:
            remote = self._learn(source, priority)
        remote.asked = True
        pair = self._pair(base, remote)
        if pair is None:
            return
        pair.nominated = pair.nominated or nominated
        fresh = now - pair.answered_at < QUIET_S + SILENT_S
        if pair is self.selected:
            self.heard = True
            return
        if nominated and fresh:
            self._select(pair, now)
        elif fresh or now - pair.asked_at < SEARCH_S / 2:
            return  # the answer is known, or on its way
        elif remote.proven or self._budget.triggered.take(now):
            pair.due = now + RETRY_S[0]
            self._send_check(pair, now)

    def _learn(self, source: Address, priority: int) -> _Remote:
        """A peer-reflexive candidate (RFC 8445 section 7.3.1.3), for the oldest if need be."""
        learned = [r for r in self._remotes.values() if r.kind == "prflx"]
        if len(learned) >= MAX_REMOTES // 2:
            in_use = self.selected.remote if self.selected is not None else None
            spare = [remote for remote in learned if remote is not in_use]
            oldest = next((r for r in spare if not r.proven), spare[0])
            del self._remotes[oldest.address]
            for key in [key for key in self._pairs if key[1] == oldest.address]:
                del self._pairs[key]
        remote = self._remotes[source] = _Remote(source, "prflx", priority)
        return remote

    def _answered(self, base: Base, source: Address, message: stun.Message, now: float) -> None:
        remote = self.remote
        pair, asked_at = self._transactions[message.transaction_id]
        if remote is None or not message.check_message_integrity(remote.password.encode()):
            return
        del self._transactions[message.transaction_id]
        if now - asked_at > TRANSACTION_S:
            return
        if (base, source) != (pair.base, pair.remote.address):
            return  # RFC 8445 section 7.2.5.2.1
        if message.message_class == stun.Class.ERROR:
            # RFC 8445 section 7.2.5.1
            if message.error_code == 487 and self.selected is None:
                self.controlling = not self.controlling
                pair.due = now
                self._sooner(now)
            return
        pair.answered_at = now
        pair.tries = 0
        pair.remote.proven = True
        if self._pairs.get((base, source)) is not pair:
            return  # forgotten meanwhile
        if self._first_answer_at is None:
            self._first_answer_at = now
        if pair is self.selected:
            self._consented(pair, now - asked_at, now)
        else:
            self._consider(pair, now)

    def _consented(self, pair: CheckedPair, rtt_s: float, now: float) -> None:
        self._rtt_s = rtt_s if not self._rtt_s else 0.75 * self._rtt_s + 0.25 * rtt_s
        self._heard_at = self._consent_at = now
        if pair.base in self._bases:
            self.state = PairState.CONNECTED

    def _consider(self, pair: CheckedPair, now: float) -> None:
        """A pair that is not selected was answered: is it to be?"""
        selected = self.selected
        if selected is None:
            if pair.nominated and not self.controlling:
                self._select(pair, now)
            elif self.controlling:
                self._sooner(now)
                if not pair.relayed:
                    self._select(pair, now)
        elif pair.nominated and not self.controlling:
            self._select(pair, now)
        elif self.state is PairState.SILENT:
            # Either end may take what works; the controlling one nominates what it takes.
            self._select(pair, now)
        elif self.controlling and selected.relayed and not pair.relayed:
            self._select(pair, now)

    def _select(self, pair: CheckedPair, now: float) -> None:
        # A nomination is followed once; later ones are said anew.
        for other in self._pairs.values():
            other.nominated = False
        self.selected = pair
        self.state = PairState.CONNECTED
        self.heard = False
        self._rtt_s = 0.0
        self._heard_at = self._consent_at = now
        self._consent_due = now  # which tells the other end, if we are the controlling one
        self._sooner(now)

    def may_send(self, now: float) -> bool:
        """Whether the other end's consent to be sent to still holds (RFC 7675)."""
        return self.selected is not None and now - self._consent_at < CONSENT_EXPIRES_S


_ANSWERS = (stun.Class.RESPONSE, stun.Class.ERROR)


def _parsed(data: bytes) -> stun.Message | None:
    try:
        return stun.parse_message(data)
    except Exception:  # struct.error, UnicodeDecodeError and the like besides ValueError
        return None


def _can_reach(ours: str, theirs: str) -> bool:
    """Whether the two are of one family, and both or neither of one link alone."""
    a, b = ipaddress.ip_address(ours), ipaddress.ip_address(theirs)
    if a.version != b.version:
        return False
    return a.version == 4 or a.is_link_local == b.is_link_local

"""DTLS records of one connection, to and from its datagrams.

aiortc takes each datagram through a queue and a task, reads one record of it, and writes as many
records into one datagram as 1,500 bytes hold.  Here what arrives is opened where it arrives, and
`take` sees it at once; only what it does not take goes through aiortc's queue.  Datagrams out fit
any path (`LEAST_DATAGRAM_BYTES`), with the records of a handshake as with those after it.  What is
no DTLS never gets in: an empty datagram, which anybody may send, ends an aiortc connection.

Set on the objects of one connection only; the private names are listed in `private`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections import deque
from collections.abc import Callable

from aiortc import RTCDtlsTransport
from aiortc.rtcdtlstransport import RTCDtlsParameters, State
from OpenSSL import SSL

from shared.link.webrtc.reliable import LEAST_DATAGRAM_BYTES

__all__ = ["RECORD_HEADER_BYTES", "Records", "split_records"]

_LOG = logging.getLogger(__name__)

RECORD_HEADER_BYTES = 13  # type, version, epoch, sequence number, length (RFC 6347 section 4.1)
_ALERT, _UNENCRYPTED = 21, bytes(2)  # a record's type, and its epoch
MAX_RECORDS = 16  # in one datagram; a flight of the handshake has 5
MAX_WAITING = 512  # datagrams that nobody has read yet, as a socket's buffer is bounded
READ_BYTES = 1 << 16  # more than OpenSSL ever has to say at once
SILENCE_S = 1.5  # both ends ping each other every second


class Records:
    """Sends and receives for one connection, before its handshake begins.

    `datagram_received` is to be given what comes by the ICE connection below.  `take` gets what was
    in each record once the handshake is over, and says whether it was for it.  `heard` is told when
    something came after a silence.
    """

    def __init__(
        self,
        dtls: RTCDtlsTransport,
        *,
        take: Callable[[bytes], bool],
        heard: Callable[[], None],
    ) -> None:
        self._dtls = dtls
        self._take = take
        self._heard = heard
        self._heard_at_s = time.monotonic()
        self._open = False  # the handshake is over, so that every record is opened on arrival
        self._stopped = False
        # Records before that, and what was in them after; empty: there may be an answer to send.
        self._waiting: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._begin = dtls.start
        self._shake_hands = dtls._do_handshake
        self._stop_dtls = dtls.stop
        certificate = dtls._RTCDtlsTransport__local_certificate  # type: ignore[attr-defined]
        self._make_context = certificate._create_ssl_context
        dtls._recv_next = self._recv_next  # type: ignore[method-assign]
        dtls._write_ssl = self._write_ssl  # type: ignore[method-assign]
        dtls._do_handshake = self._do_handshake  # type: ignore[method-assign]
        dtls.start = self._start  # type: ignore[assignment, method-assign]
        dtls.stop = self._stop  # type: ignore[method-assign]
        certificate._create_ssl_context = self._create_ssl_context

    # -- the handshake ----------------------------------------------------------------------------

    def _create_ssl_context(self, *args: object, **options: object) -> SSL.Context:
        context: SSL.Context = self._make_context(*args, **options)
        # Without the first OpenSSL forgets the size that it is given.  The second: a renegotiation
        # costs this end two signatures, as often as the other end likes, and nobody needs it.
        context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION)
        return context

    async def _start(self, remote: RTCDtlsParameters) -> None:
        """Shake hands; whatever goes wrong is a failed connection, never a task's error."""
        try:
            await self._begin(remote)
        except Exception as error:
            _LOG.info("the secure connection (DTLS) failed: %s", type(error).__name__)
            _LOG.debug("aiortc stumbled", exc_info=True)
            self._dtls._set_state(State.FAILED)

    async def _do_handshake(self) -> None:
        if self._dtls._ssl is not None:
            self._dtls._ssl.set_ciphertext_mtu(LEAST_DATAGRAM_BYTES)
        await self._shake_hands()

    async def _stop(self) -> None:
        self._stopped = True
        self._arrived.set()  # a handshake under way waits there
        await self._stop_dtls()

    # -- in ---------------------------------------------------------------------------------------

    def datagram_received(self, data: bytes) -> None:
        """What came by the ICE connection and was no STUN, from whomever."""
        # The first byte says which protocol it is (RFC 7983); we have no other than DTLS.
        if len(data) < RECORD_HEADER_BYTES or not 19 < data[0] < 64:
            return
        if len(data) == RECORD_HEADER_BYTES + int.from_bytes(data[11:13], "big"):
            self._record_received(data)
            return
        for record in split_records(data, MAX_RECORDS):
            self._record_received(record)

    def _record_received(self, record: bytes) -> None:
        if not self._open:
            # An alert that is not encrypted may be anybody's (RFC 6347 section 4.1.2.7); OpenSSL
            # would end the handshake for it.
            if not (record[0] == _ALERT and record[3:5] == _UNENCRYPTED):
                self._wait(record)
            return
        opened = self._opened(record)
        if not (opened and self._take(opened)):
            self._wait(opened)

    def _wait(self, what: bytes) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(what)
            self._arrived.set()

    def _opened(self, record: bytes) -> bytes:
        """What is in a record: nothing where it is damaged, or not for us but for DTLS itself."""
        ssl = self._dtls._ssl
        if ssl is None:
            return b""
        try:
            ssl.bio_write(record)
            opened = ssl.recv(len(record))
        except SSL.ZeroReturnError:  # the other end's goodbye
            self._stopped = True
            return b""
        except SSL.Error:
            return b""
        # Only now is it known to be the other end that was heard.
        now = time.monotonic()
        silent_s, self._heard_at_s = now - self._heard_at_s, now
        if silent_s > SILENCE_S:
            self._heard()
        return opened

    async def _recv_next(self) -> None:
        """Read on, as far as what has come; raises `ConnectionError` once there is no more.

        aiortc's reader calls it again and again: in the handshake, and then for good.
        """
        if not self._open and not await self._read_handshake():
            return
        while not self._waiting and not self._stopped:
            self._arrived.clear()
            await self._arrived.wait()
        if not self._waiting:
            raise ConnectionError
        opened = self._waiting.popleft()
        if opened:
            await self._hand_on(opened)
        else:
            await self._write_ssl()

    async def _read_handshake(self) -> bool:
        """Read on in the handshake; True: it is over."""
        ssl = self._dtls._ssl
        if ssl is None:
            raise ConnectionError
        timeout_s = ssl.DTLSv1_get_timeout()
        # DTLS 1.3 may have its last flight to say again once connected; 1.2 has not.
        over = self._dtls.state == "connected" and timeout_s is None
        if not over and not self._waiting and not self._stopped:
            self._arrived.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait()
            except TimeoutError:
                ssl.DTLSv1_handle_timeout()
        if self._stopped:
            raise ConnectionError
        waiting, self._waiting = self._waiting, deque()
        self._open = over
        for record in waiting:
            if opened := self._opened(record):
                await self._hand_on(opened)
        await self._write_ssl()
        return over

    async def _hand_on(self, opened: bytes) -> None:
        if self._dtls._data_receiver is not None:
            await self._dtls._data_receiver._handle_data(opened)

    # -- out --------------------------------------------------------------------------------------

    async def _write_ssl(self) -> None:
        """Send what OpenSSL has to say: whole records, as many to a datagram as any path takes."""
        waiting = b""
        ssl = self._dtls._ssl
        if ssl is not None:
            with contextlib.suppress(SSL.Error):  # there is nothing
                waiting = ssl.bio_read(READ_BYTES)
        datagram = bytearray()
        for record in split_records(waiting):
            if datagram and len(datagram) + len(record) > LEAST_DATAGRAM_BYTES:
                await self._send(bytes(datagram))
                datagram.clear()
            datagram += record
        if datagram:
            await self._send(bytes(datagram))

    async def _send(self, datagram: bytes) -> None:
        try:
            await self._dtls.transport._send(datagram)
        except ConnectionError:
            if not self._open:
                raise  # a handshake without a path has failed; later one may come back


def split_records(data: bytes, most: int = sys.maxsize) -> list[bytes]:
    """The first `most` records that follow each other in `data`, as far as they are whole.

    DTLS 1.3 may leave a record's length out; then it is the last of its datagram (RFC 9147
    section 4), and all the rest is taken for it.
    """
    records: list[bytes] = []
    at = 0
    while at < len(data) and len(records) < most:
        end = len(data)
        if data[at] < 32:
            end = at + RECORD_HEADER_BYTES + int.from_bytes(data[at + 11 : at + 13], "big")
            if end > len(data):
                break
        records.append(data[at:end])
        at = end
    return records

"""Bursts of datagrams: whole, in order, and one by one where the kernel does not cut them."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import sys
from types import SimpleNamespace

import pytest
from aioice.turn import TurnTransport

from shared.link.webrtc import bursts as module
from shared.link.webrtc.bursts import Bursts

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel cuts bursts on Linux only")


class Received(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.datagrams: list[bytes] = []

    def datagram_received(self, data, addr) -> None:
        self.datagrams.append(data)


class Spy:
    """A transport that counts what leaves one by one."""

    def __init__(self, transport) -> None:
        self._transport = transport
        self.single = 0

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def sendto(self, data, addr) -> None:
        self.single += 1
        self._transport.sendto(data, addr)


@pytest.fixture
async def way():
    """(transport to send with, address, what came)"""
    loop = asyncio.get_running_loop()
    target, received = await loop.create_datagram_endpoint(Received, ("127.0.0.1", 0))
    transport, _ = await loop.create_datagram_endpoint(Received, ("127.0.0.1", 0))
    target.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    yield Spy(transport), target.get_extra_info("sockname"), received.datagrams
    transport.close()
    target.close()


async def until_all_came(came: list[bytes], wanted: int) -> None:
    async with asyncio.timeout(10):
        while len(came) < wanted:
            await asyncio.sleep(0.005)


def datagrams(*sizes: int) -> list[bytes]:
    dice = random.Random(1)
    return [dice.randbytes(size) for size in sizes]


@linux
@pytest.mark.parametrize(
    ("sizes", "alone"),
    [
        ([1200] * 25, 0),
        ([57] + [1200] * 10, 1),  # a ping goes ahead
        ([1200] * 130, 0),  # more than one send holds
        ([20] * 66, 0),
        ([9, 8, 7], 3),
    ],
)
async def test_what_is_of_one_size_leaves_in_few_sends_and_comes_as_it_was(way, sizes, alone):
    transport, address, came = way
    burst = datagrams(*sizes)
    Bursts().send(transport, burst, address)
    await until_all_came(came, len(burst))
    assert came == burst
    assert transport.single == alone


async def test_where_the_kernel_does_not_cut_datagrams_they_leave_one_by_one(way, monkeypatch):
    transport, address, came = way
    monkeypatch.setattr(module, "_UDP_SEGMENT", 99)  # no option of any kernel's
    bursts, burst = Bursts(), datagrams(*[1000] * 5)
    bursts.send(transport, burst, address)
    bursts.send(transport, burst, address)
    await until_all_came(came, 10)
    assert came == burst * 2
    assert transport.single == 10
    assert not bursts._segments  # it is not asked again


async def test_a_turn_allocation_has_no_socket_and_takes_them_one_by_one():
    sent: list[bytes] = []

    class Allocation:
        transport = SimpleNamespace(is_closing=lambda: False)  # to the TURN server

        async def send_data(self, data, addr) -> None:
            sent.append(data)

    class OpenTransport(TurnTransport):
        def is_closing(self) -> bool:
            return False

    burst = datagrams(*[1000] * 5)
    Bursts().send(OpenTransport(Allocation()), burst, ("192.0.2.1", 9))
    async with asyncio.timeout(10):
        while len(sent) < 5:
            await asyncio.sleep(0.005)
    assert sent == burst


def failing(monkeypatch, number: int, times: int) -> None:
    """The first `times` large sends fail with this errno."""
    left = [times]
    plain = socket.socket.sendmsg

    class Failing(socket.socket):
        def sendmsg(self, *arguments):
            if left[0]:
                left[0] -= 1
                raise OSError(number, os.strerror(number))
            return plain(self, *arguments)

    monkeypatch.setattr(module.socket, "socket", Failing)


@linux
@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENETUNREACH, errno.EPERM, errno.ENOBUFS])
async def test_after_an_error_that_may_pass_the_next_burst_leaves_as_one(way, monkeypatch, number):
    transport, address, came = way
    failing(monkeypatch, number, times=1)
    bursts, burst = Bursts(), datagrams(*[1000] * 5)
    bursts.send(transport, burst, address)
    assert transport.single == 5
    bursts.send(transport, burst, address)
    await until_all_came(came, 10)
    assert transport.single == 5
    assert came == burst * 2


@linux
async def test_a_device_that_cannot_is_not_asked_again(way, monkeypatch):
    transport, address, _ = way
    failing(monkeypatch, errno.EIO, times=1)
    bursts = Bursts()
    bursts.send(transport, datagrams(*[1000] * 5), address)
    bursts.send(transport, datagrams(*[1000] * 5), address)
    assert transport.single == 10


@linux
async def test_a_burst_does_not_overtake_what_waits_in_the_transport(way):
    transport, address, _ = way
    transport.get_write_buffer_size = lambda: 77
    Bursts().send(transport, datagrams(*[1000] * 5), address)
    assert transport.single == 5


@linux
async def test_the_socket_stays_open_and_the_transports(way):
    transport, address, came = way
    for _ in range(3):
        Bursts().send(transport, datagrams(500, 500), address)
    transport.sendto(b"last", address)
    await until_all_came(came, 7)
    assert came[-1] == b"last"


async def test_nothing_is_sent_on_the_socket_of_a_transport_that_is_closing(way, monkeypatch):
    transport, address, _ = way
    transport.close()
    monkeypatch.setattr(module.socket, "socket", None)  # its number may be another file's by now
    monkeypatch.setattr(Spy, "sendto", lambda self, data, addr: None)
    Bursts().send(transport, datagrams(500, 500), address)

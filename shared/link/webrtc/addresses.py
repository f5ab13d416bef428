"""Addresses: those of this machine to be reached at, and those of others that may be written to."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

import ifaddr

__all__ = ["LOOPBACK", "is_link_local", "is_unicast", "machine_addresses", "only_loopback"]

LOOPBACK = "127.0.0.1"

# Addresses for documentation (RFC 5737, RFC 3849): asked of the routing table, never written to.
_SOMEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def machine_addresses(link_local: bool = False) -> list[str]:
    """The addresses of this machine's interfaces, those first that the way out begins at.

    Of IPv6's link-local ones (fe80::…%interface) there are none, unless `link_local` asks for them
    or the machine has nothing else.  Where there is no address at all, it is the loopback's: two
    programs on a laptop without a network.
    """
    plain: list[str] = []
    local: list[str] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if isinstance(ip.ip, str):
                if not ipaddress.ip_address(ip.ip).is_loopback:
                    plain.append(ip.ip)
                continue
            address = ipaddress.ip_address(ip.ip[0].partition("%")[0])
            if address.is_link_local:
                local.append(f"{address}%{adapter.name}")
            elif not address.is_loopback:
                plain.append(str(address))
    out = _ways_out()
    plain.sort(key=lambda address: address not in out)
    if link_local or not plain:
        plain += local
    return plain or [LOOPBACK]


def _ways_out() -> set[str]:
    """The addresses that this machine would write to the world from; nothing is sent."""
    found = set()
    for family, somewhere in _SOMEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as udp:
                udp.connect((somewhere, 9))
                found.add(udp.getsockname()[0])
        except OSError:
            continue  # no way out by this family
    return found


def is_link_local(address: str) -> bool:
    """Whether it is an IPv6 address that means something on one link only."""
    parsed = ipaddress.ip_address(address)
    return parsed.version == 6 and parsed.is_link_local


def is_unicast(address: str) -> bool:
    """Whether it is one host's address, as a number: no name, no group, no placeholder."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:  # what another machine calls its interfaces
            return False
        if parsed.ipv4_mapped is not None:
            return False
    elif parsed.packed[0] in (0, 255) or parsed == ipaddress.IPv4Address("255.255.255.255"):
        return False
    return not (parsed.is_multicast or parsed.is_unspecified)


def only_loopback(addresses: Sequence[str] | None) -> bool:
    """Whether a link from these addresses can reach this machine alone."""
    if not addresses:
        return False
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)

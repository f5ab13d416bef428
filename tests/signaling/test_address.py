"""One line names the server, in any way a person may write it."""

from __future__ import annotations

import pytest

from shared.errors import BadInput
from signaling.address import parse_url


@pytest.mark.parametrize(
    ("text", "url", "where"),
    [
        ("ws://127.0.0.1:8765", "ws://127.0.0.1:8765/ws", "127.0.0.1:8765"),
        ("http://127.0.0.1:8765/", "ws://127.0.0.1:8765/ws", "127.0.0.1:8765"),
        ("127.0.0.1:8765", "ws://127.0.0.1:8765/ws", "127.0.0.1:8765"),
        ("signal.example.org", "ws://signal.example.org:8765/ws", "signal.example.org:8765"),
        (" localhost:9 ", "ws://localhost:9/ws", "localhost:9"),
        ("wss://signal.example.org", "wss://signal.example.org:443/ws", "signal.example.org:443"),
        ("https://h/veil/ws", "wss://h:443/veil/ws", "h:443"),
        ("ws://h/a?b=c", "ws://h:80/a?b=c", "h:80"),
        ("ws://[::1]:8765", "ws://[::1]:8765/ws", "[::1]:8765"),
        ("ws://[fe80::7%enP1]:9", "ws://[fe80::7%enP1]:9/ws", "[fe80::7%enP1]:9"),
        ("ws://[fe80::7%25enP1]:9", "ws://[fe80::7%enP1]:9/ws", "[fe80::7%enP1]:9"),
    ],
)
def test_an_address_means(text: str, url: str, where: str) -> None:
    assert parse_url(text) == (url, where)


@pytest.mark.parametrize(
    "text",
    ["", "ws://", "ftp://host", "ws://host:port", "ws://host:99999", "ws://[::1", "ws://u:p@host",
     "ws://ho\x1b[31mst"],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse_url(text)
    assert "ws://127.0.0.1:8765" in raised.value.hint
    assert not text or text not in str(raised.value)

"""A captive portal: whatever is asked of it, it answers with a page of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.networks.hosts import Host
from tests.networks.programs import running

__all__ = ["portal"]

PAGE = b"<html><title>Guest network</title><form>Accept the terms to go on</form></html>"


@contextmanager
def portal(host: Host, folder: Path, answer: str) -> Iterator[None]:
    """Serve at port 8080 of `host`: the page itself, or (`redirect`) where it is to be found."""
    with running(host, __name__, answer, output=folder / "portal.out") as program:
        if not program.says("serving", 30):
            raise RuntimeError(f"no portal: {program.output}")
        yield


class _Portal(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if sys.argv[1] == "redirect":
            self.send_response(302)
            self.send_header("Location", "http://portal.invalid/login")
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)


if __name__ == "__main__":
    with HTTPServer(("", 8080), _Portal) as server:
        sys.stdout.write("serving\n")
        server.serve_forever()

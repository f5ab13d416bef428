"""TLS for both ends of a signaling connection, from PEM files; nothing older than TLS 1.2."""

from __future__ import annotations

import ssl
from pathlib import Path

from shared.errors import BadInput

__all__ = ["client_context", "server_context"]

OLDEST_TLS = ssl.TLSVersion.TLSv1_2  # RFC 8996; some systems' own settings allow older ones


def server_context(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """The server's TLS context, or None when neither file is given.

    Raises:
        BadInput: only one of the two is given, or a file is missing, not PEM, or the key is not
            that of the certificate or is locked with a passphrase.
    """
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise BadInput(
            "TLS needs a certificate and its key", hint="give both --cert FILE and --key FILE"
        )
    for option, path in (("--cert", cert), ("--key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise BadInput(
                f"can't read {path}: {error.strerror}",
                hint=f"{option} takes a PEM file that this user may read",
            ) from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = OLDEST_TLS

    def no_passphrase() -> str:
        raise BadInput(
            f"the key {key} is locked with a passphrase",
            hint="a server starts unattended: write the key unlocked, readable by its user alone",
        )

    try:
        context.load_cert_chain(cert, key, password=no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"the key {key} does not belong to the certificate {cert}"
        else:
            message = f"{cert} and {key} are not a PEM certificate and its PEM key"
        raise BadInput(
            message, hint="--cert takes the chain, the server's own first; --key its private key"
        ) from None
    return context


def client_context(authorities: Path | None) -> ssl.SSLContext | None:
    """A client's TLS context that trusts the certificates in a PEM file and nobody else.

    None, the system's own authorities, where there is no such file to go by.

    Raises:
        BadInput: the file is missing or holds no certificate.
    """
    if authorities is None:
        return None
    try:
        context = ssl.create_default_context(cafile=authorities)
    except ssl.SSLError:
        raise BadInput(
            f"{authorities} holds no certificate", hint="--ca takes a PEM file of authorities"
        ) from None
    except OSError as error:
        raise BadInput(
            f"can't read {authorities}: {error.strerror}",
            hint="--ca takes a PEM file that this user may read",
        ) from None
    context.minimum_version = OLDEST_TLS
    return context

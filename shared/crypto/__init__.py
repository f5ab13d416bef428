"""Pairing, key agreement and sealing, as pure machines: bytes and times in, bytes out.

`pairing` (the spoken code) → `handshake` (with `messages` and `agreement`) → `securechannel`
(control messages) → `keyschedule` (epochs) → `sealing` (frames, with `replay`).  Nothing here
opens a socket, reads a clock or starts a thread.
"""

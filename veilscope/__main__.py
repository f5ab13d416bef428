"""`python -m veilscope`: the same as the command `veilscope`."""

from __future__ import annotations

from veilscope.cli import main

if __name__ == "__main__":
    main()

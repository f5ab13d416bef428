"""`python -m tests.networks CASE …` plays trials by hand and prints what came of each."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.networks.hosts import missing
from tests.networks.trials import TRIALS, play


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in TRIALS]
    if unknown or not names:
        complaint = f"no such trial: {unknown}" if unknown else "which?"
        sys.stdout.write("\n  ".join([complaint, *TRIALS]) + "\n")
        return 2
    for name in names:
        folder = Path(tempfile.mkdtemp(prefix=f"networks-{name}-"))
        lacking = missing(*TRIALS[name].needs)
        began = time.monotonic()
        came = lacking or str(play(name, folder))
        took_s = time.monotonic() - began
        sys.stdout.write(f"=== {name} ({took_s:.1f} s, {folder})\n{came}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`make fuzz`: every family for a while, by atheris where it is there; see `families`.

What is found stays in `.fuzz/FAMILY`: inputs that reach new code, and those that make a parser
stumble, as `finding-…`.  One that was mended goes to `seeds/FAMILY`, and the suite replays it.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import logging
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.families import FAMILIES, folder, keep_seeds, kept, target
from tests.fuzz.inputs import mutations

FOUND = Path(".fuzz")
MAX_INPUT_BYTES = 20_000
SLOW_S = 10  # an input that takes longer is a finding
MAX_MIB = 2_048

# Instrumented, so that the fuzzer sees which inputs reach new code.
OURS = ("shared", "signaling", "aiortc", "aioice", "tests.fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("families", nargs="*", choices=[*FAMILIES, []], help="all by default")
    parser.add_argument("--seconds", type=int, default=120, help="for each family")
    parser.add_argument("--keep-seeds", action="store_true", help="write the seeds anew, and end")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    families = given.families or FAMILIES
    if given.keep_seeds:
        for family in families:
            keep_seeds(family)
        return 0
    if given.here:
        _atheris(families[0], given.seconds)
    has_atheris = importlib.util.find_spec("atheris") is not None
    if not has_atheris:
        print("atheris is not installed here: inputs are changed by chance alone")  # noqa: T201
    failed = [name for name in families if not _fuzz(name, given.seconds, has_atheris)]
    print("stumbled:", ", ".join(failed) or "none")  # noqa: T201
    return int(bool(failed))


def _fuzz(family: str, seconds: int, has_atheris: bool) -> bool:
    """Whether nothing was found."""
    print(f"-- {family}", flush=True)  # noqa: T201
    (FOUND / family).mkdir(parents=True, exist_ok=True)
    if has_atheris:  # in a process of its own: a finding ends it, and libFuzzer never returns
        here = [sys.executable, "-m", "tests.fuzz.run", "--here", family, "--seconds", str(seconds)]
        return subprocess.run(here, check=False).returncode == 0
    return _by_chance(family, seconds)


def _atheris(family: str, seconds: int) -> None:
    """Does not return."""
    import atheris  # type: ignore[import-not-found, unused-ignore]

    logging.disable()
    with atheris.instrument_imports(include=list(OURS)):
        run = target(family)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-timeout={SLOW_S}",
        f"-rss_limit_mb={MAX_MIB}",
        f"-artifact_prefix={FOUND / family}/finding-",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(FOUND / family), str(folder(family))], run)
    atheris.Fuzz()


def _by_chance(family: str, seconds: int) -> bool:
    logging.disable()
    run, seeds, until_s = target(family), kept(family), time.monotonic() + seconds
    for number in itertools.count():
        for data in mutations(seeds, 100, number):
            try:
                run(data)
            except Exception:
                (FOUND / family / f"finding-{number}").write_bytes(data)
                raise
        if time.monotonic() >= until_s:
            return True
    return True


if __name__ == "__main__":
    sys.exit(main())

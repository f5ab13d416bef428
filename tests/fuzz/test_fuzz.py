"""Whatever anybody sends, no parser does worse than refuse it: a short run of every harness.

`make fuzz` runs them for long, and looks for inputs that reach new code.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator

import pytest

from tests.fuzz.families import FAMILIES, kept, target
from tests.fuzz.inputs import join, mutations, split

# As many as take a second or so together; an association is opened for each of SCTP's.
COUNTS = {"sctp": 400, "codecs": 1_000}
COUNT = 2_000

every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@every_family
def test_inputs_that_are_kept_make_no_parser_stumble(family: str) -> None:
    run = target(family)
    for data in kept(family):
        run(data)


@every_family
def test_changed_inputs_make_no_parser_stumble(family: str) -> None:
    run = target(family)
    for data in mutations(kept(family), COUNTS.get(family, COUNT), seed=1):
        run(data)


@every_family
def test_no_input_at_all_and_any_single_byte_is_taken(family: str) -> None:
    run = target(family)
    run(b"")
    for byte in range(256):
        run(bytes((byte,)))


@every_family
def test_the_seeds_of_a_family_are_kept(family: str) -> None:
    made = dict(importlib.import_module(f"tests.fuzz.{family}").seeds())
    assert len(made) >= 3
    assert len(kept(family)) >= len(made)


def test_rows_of_messages_are_read_as_they_were_joined() -> None:
    messages = [b"one", b"", b"x" * 300]
    assert list(split(join(messages))) == messages
    assert list(split(join(messages)[:-1])) == [b"one", b"", b"x" * 299]
    assert list(split(b"\0")) == []


def test_changed_inputs_are_the_same_for_the_same_seed() -> None:
    seeds = [b"one", b"two words", b""]
    assert list(mutations(seeds, 50, 3)) == list(mutations(seeds, 50, 3))
    assert list(mutations(seeds, 50, 3)) != list(mutations(seeds, 50, 4))

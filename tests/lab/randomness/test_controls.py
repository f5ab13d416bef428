from __future__ import annotations

import numpy as np
import pytest

from lab.randomness.battery import MIN_BITS, p_values
from lab.randomness.controls import CONTROLS
from lab.randomness.streams import read
from lab.randomness.verdict import judge

SEQUENCES = 6  # the fewest that can be too bad for chance: (1/100)^6 in one of 188 parts


@pytest.mark.parametrize(
    ("name", "failed"),
    [("aes", False), ("randu", True), ("affine", True), ("fold64", True), ("fold1", True)],
)
def test_a_known_bad_generator_fails_within_a_few_sequences_and_aes_does_not(name, failed) -> None:
    control = CONTROLS[name]
    raw = read(control.open(), 0, SEQUENCES * MIN_BITS // 8)
    rows = np.unpackbits(raw).reshape(SEQUENCES, MIN_BITS)
    verdict = judge(np.stack([p_values(row) for row in rows]))
    assert verdict.failed is failed
    assert control.good is not failed

"""The measurement of how long new text stands: it ends when the text is hidden."""

from __future__ import annotations

import numpy as np

from lab.bench.textdelay import stood_s
from shared.frame import Image, Rect


def test_text_is_seen_to_be_hidden_once_it_was_found() -> None:
    looked_at: list[bool] = []

    def find(image: Image) -> tuple[Rect, ...]:
        rows, columns = np.nonzero(image.any(axis=2))
        looked_at.append(bool(rows.size))
        if not rows.size:
            return ()
        left, top = int(columns.min()), int(rows.min())
        return (Rect(left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1),)

    assert stood_s(find, np.zeros((240, 320, 3), np.uint8), 0.1) >= 0
    assert looked_at[0] is False  # before anything appeared
    assert any(looked_at)

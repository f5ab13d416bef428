from __future__ import annotations

import pytest

from lab.choices import refuse_unknown
from lab.output import writing
from shared.errors import BadInput, OutputFailed


def test_what_can_not_be_written_is_named_with_the_reason(tmp_path) -> None:
    path = tmp_path / "missing" / "file"
    with (
        pytest.raises(OutputFailed, match=r"^can't write .*file: No such file") as failed,
        writing(path, hint="another"),
    ):
        path.write_bytes(b"")
    assert failed.value.hint == "another"


def test_other_failures_are_left_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), writing("it"):
        raise ZeroDivisionError


def test_the_first_unknown_name_is_refused_with_those_to_choose_from() -> None:
    refuse_unknown("fruit", ["apple", "pear"], ("pear", "apple"))
    with pytest.raises(BadInput, match=r"^there is no fruit 'stone'$") as refused:
        refuse_unknown("fruit", ["pear", "stone", "leaf"], {"apple": 1, "pear": 2})
    assert refused.value.hint == "choose from apple, pear"

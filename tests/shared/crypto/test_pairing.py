"""The spoken code: what is made, what is understood, and how often it may be tried."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mnemonic import Mnemonic

from shared.crypto.pairing import MAX_WRONG_TRIES, PairingCode, PairingTries
from shared.errors import BadInput, CodeUsed, NotNow

WORDS = Mnemonic("english").wordlist
word = st.sampled_from(WORDS)


def test_a_code_is_a_nameplate_and_three_words_of_33_bits() -> None:
    code = PairingCode.generate("42")
    nameplate, *words = str(code).split("-")
    assert nameplate == code.nameplate == "42"
    assert len(words) == 3
    assert all(w in WORDS for w in words)
    assert len(set(WORDS)) ** len(words) == 2**33
    assert len({PairingCode.generate("1").secret for _ in range(50)}) == 50


@given(
    st.integers(1, 999_999),
    st.tuples(word, word, word),
    st.sampled_from([" ", "-", " - ", ". ", ", ", "_", "\u2013", "\u2014", "\t", "  "]),
    st.sampled_from([str.lower, str.upper, str.title]),
    st.booleans(),
)
def test_case_separators_and_four_letter_prefixes_do_not_matter(
    number: int, words: tuple[str, str, str], separator: str, cased: object, short: bool
) -> None:
    assert callable(cased)
    typed = [w[:4] if short else w for w in words]
    parsed = PairingCode.parse("  " + cased(separator.join([str(number), *typed])) + "\n")
    assert parsed == PairingCode(str(number), "-".join(words))
    assert PairingCode.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "place"),
    [("7-zzzz-crystal-zebra", 1), ("7-abandon-crystol-zebra", 2), ("7-abandon-crystal-zeb", 3),
     ("7-abandon-crystal-zebras", 3), ("7-aba-crystal-zebra", 1)],
)  # fmt: skip
def test_a_typo_is_named_by_its_place_and_never_repeated(text: str, place: int) -> None:
    with pytest.raises(BadInput) as caught:
        PairingCode.parse(text)
    shown = str(caught.value) + caught.value.hint
    assert f"word {place} " in str(caught.value)
    assert not any(part in shown for part in text.split("-")[1:])


@pytest.mark.parametrize(
    "text",
    ["", "7", "abandon-crystal-zebra", "7-abandon-crystal", "7-abandon-crystal-zebra-zoo",
     "seven-abandon-crystal-zebra", "²-abandon-crystal-zebra",
     "1234567-abandon-crystal-zebra", "07-abandon-crystal-zebra", "0-abandon-crystal-zebra"],
)  # fmt: skip
def test_another_shape_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        PairingCode.parse(text)


def test_the_lists_words_are_told_apart_by_four_letters() -> None:
    assert len({w[:4] for w in WORDS}) == len(WORDS) == 2048


@given(st.text(max_size=60))
def test_any_text_is_a_code_or_bad_input(text: str) -> None:
    try:
        code = PairingCode.parse(text)
    except BadInput:
        return
    assert all(w in WORDS for w in code.secret.split("-"))


def test_a_nameplate_must_be_a_number() -> None:
    with pytest.raises(BadInput):
        PairingCode.generate("room")


def test_the_repr_hides_the_words_and_str_shows_them() -> None:
    code = PairingCode.parse("7-abandon-crystal-zebra")
    assert repr(code) == "PairingCode(nameplate='7')"
    assert str(code) == "7-abandon-crystal-zebra"


def test_three_wrong_tries_end_a_code() -> None:
    tries = PairingTries()
    for left in (2, 1, 0):
        assert not tries.over
        tries.begin()
        assert tries.wrong() == left
    assert tries.over
    with pytest.raises(CodeUsed):
        tries.begin()


def test_a_code_pairs_once() -> None:
    tries = PairingTries()
    tries.begin()
    tries.succeeded()
    assert tries.used
    assert tries.over
    with pytest.raises(CodeUsed):
        tries.begin()


def test_of_two_tries_at_once_only_the_first_to_finish_pairs() -> None:
    tries = PairingTries()
    tries.begin()
    tries.begin()
    tries.succeeded()
    with pytest.raises(CodeUsed):
        tries.succeeded()


def test_abandoned_tries_cost_nothing() -> None:
    tries = PairingTries()
    for _ in range(10):
        tries.begin()
        tries.abandoned()
    assert not tries.over


@given(st.lists(st.sampled_from(["begin", "wrong", "abandoned"]), max_size=60))
def test_no_interleaving_of_tries_buys_a_fourth_guess(steps: list[str]) -> None:
    tries, pending, wrong = PairingTries(), 0, 0
    for step in steps:
        if step == "begin":
            try:
                tries.begin()
                pending += 1
            except NotNow:
                assert wrong + pending == MAX_WRONG_TRIES and pending
            except CodeUsed:
                assert wrong == MAX_WRONG_TRIES
        elif pending == 0:
            with pytest.raises(BadInput):
                getattr(tries, step)()
        else:
            getattr(tries, step)()
            pending -= 1
            wrong += step == "wrong"
        assert wrong + pending <= MAX_WRONG_TRIES
        assert tries.over is (wrong == MAX_WRONG_TRIES)

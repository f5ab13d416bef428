from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from receiver import codeentry as entry_module
from receiver.codeentry import CodeEntry
from shared.crypto.pairing import MAX_WRONG_TRIES, PairingCode
from shared.errors import (
    BadInput,
    CodeUsed,
    PeerGone,
    RoomUnavailable,
    VeilscopeError,
    WrongCode,
)
from shared.terminal import EndOfInput

CODE = PairingCode.parse("7-abandon-abandon-zoo")


class Person:
    """Types what `lines` hold, and reads what is said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lines: list[str], *, there: bool) -> None:
        self.lines = lines
        self.told: list[VeilscopeError] = []
        monkeypatch.setattr(entry_module, "ask", self._ask)
        monkeypatch.setattr(entry_module, "can_ask_again", lambda: there)
        monkeypatch.setattr(entry_module, "tell_error", self.told.append)

    async def _ask(self, _prompt: str) -> str:
        return self.lines.pop(0)


async def test_a_person_who_mistyped_a_word_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person(monkeypatch, ["7-abandon-abandom-zoo", "7", str(CODE)], there=True)
    assert await CodeEntry().code() == CODE
    assert [str(error) for error in person.told] == [
        "word 2 of the pairing code is not in the word list",
        "a pairing code has 4 parts, not 1",
    ]


async def test_a_script_that_mistyped_gets_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person(monkeypatch, ["7-abandon-abandom-zoo", str(CODE)], there=False)
    with pytest.raises(BadInput, match="word 2"):
        await CodeEntry().code()
    assert person.told == []


async def test_a_person_who_ends_the_input_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ends(_prompt: str) -> str:
        raise EndOfInput("the input ended before a line was typed")

    person = Person(monkeypatch, [], there=True)
    monkeypatch.setattr(entry_module, "ask", ends)
    async with asyncio.timeout(30):
        with pytest.raises(BadInput, match="input ended") as failed:
            await CodeEntry().code()
    assert "--code-file" in failed.value.hint
    assert person.told == []


async def test_a_wrong_code_is_asked_for_again_while_tries_are_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    person = Person(monkeypatch, [str(CODE)] * MAX_WRONG_TRIES, there=True)
    entry = CodeEntry()
    wrong = WrongCode("the two codes differ")
    answers = []
    for _ in range(MAX_WRONG_TRIES):
        await entry.code()
        answers.append(entry.again(wrong))
    assert answers == [True] * (MAX_WRONG_TRIES - 1) + [False]
    assert person.told == [wrong] * (MAX_WRONG_TRIES - 1)
    said = capsys.readouterr().out
    assert "2 tries are left" in said
    assert "1 try is left" in said


async def test_a_room_that_is_not_there_may_be_a_number_mistyped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person = Person(monkeypatch, [str(CODE)], there=True)
    entry = CodeEntry()
    await entry.code()
    missing = RoomUnavailable("there is no such room")
    assert entry.again(missing)
    assert person.told == [missing]


@pytest.mark.parametrize("error", [CodeUsed("used"), PeerGone("gone"), BadInput("no network")])
async def test_what_another_code_would_not_mend_ends_the_program(
    monkeypatch: pytest.MonkeyPatch, error: VeilscopeError
) -> None:
    Person(monkeypatch, [str(CODE)], there=True)
    entry = CodeEntry()
    await entry.code()
    assert not entry.again(error)


@pytest.mark.parametrize("there", [True, False])
async def test_a_code_that_was_not_typed_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    Person(monkeypatch, [], there=there)
    entry = CodeEntry(CODE)
    assert await entry.code() == CODE
    assert not entry.again(WrongCode("no"))


async def test_a_code_file_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "code"
    async with asyncio.timeout(30):
        reading = asyncio.create_task(CodeEntry(None, path).code())
        while "waiting for the code" not in capsys.readouterr().out:
            await asyncio.sleep(0)
        path.write_text(f"{CODE}\n")
        assert await reading == CODE


async def test_a_code_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be read"):
        await CodeEntry(None, tmp_path).code()

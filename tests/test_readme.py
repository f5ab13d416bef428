"""The README is true: its example runs, and its tables name every option and no other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import shared.errors
from receiver.cli import receive
from sender.cli import send
from veilscope.demo import demo

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def options_of(command: object) -> dict[str, str | None]:
    """Every option of a command, with its environment variable."""
    app = typer.Typer(add_completion=False)
    app.command()(command)  # type: ignore[arg-type]
    parameters = typer.main.get_command(app).params
    return {parameter.opts[0]: parameter.envvar for parameter in parameters}


def table(heading: str) -> str:
    return README.partition(f"| {heading}")[2].partition("\n\n")[0]


def test_the_example_for_engineers_runs() -> None:
    example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(example) == 1
    run = subprocess.run(
        [sys.executable, "-P", "-c", example[0].replace("SenderSettings(", LOOPBACK_SENDER)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    shown = re.findall(r"frame \d+: [\d.]+ ms, epoch 1", run.stdout)
    assert len(shown) >= 30


LOOPBACK_SENDER = "SenderSettings(host_addresses=('127.0.0.1',), "


@pytest.mark.parametrize(
    ("command", "headings"),
    [
        (send, ("sender (`veilscope send`)", "both")),
        (receive, ("receiver (`veilscope receive`)", "both")),
    ],
)
def test_the_tables_name_every_option_and_its_variable(
    command: object, headings: tuple[str, str]
) -> None:
    told = "\n".join(table(heading) for heading in headings)
    options = options_of(command)
    assert set(re.findall(r"`(--[a-z-]+)", told)) == set(options)
    for option, variable in options.items():
        row = next(line for line in told.splitlines() if f"`{option}" in line)
        assert (variable is not None) == ("VEILSCOPE_" in row), option
        assert variable is None or f"`{variable}`" in row, option


def test_the_demos_options_are_told() -> None:
    line = next(line for line in README.splitlines() if "`veilscope demo` (" in line)
    told = set(re.findall(r"`(--[a-z-]+)`", line.partition("), `veilscope report")[0]))
    assert told == set(options_of(demo)) - {"--debug"}


def test_the_exit_statuses_are_those_of_the_errors() -> None:
    told = README.partition("**Exit status:**")[2].partition("\n\n")[0]
    numbers = {int(number) for number in re.findall(r"(?:^|;) (\d+) ", told.replace("\n", " "))}
    kinds = [getattr(shared.errors, name) for name in shared.errors.__all__]
    used = {kind.exit_status for kind in kinds} - {1}
    assert used <= numbers


def test_every_document_and_picture_it_points_at_is_there() -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert targets
    for target in targets:
        assert (ROOT / target).is_file(), target

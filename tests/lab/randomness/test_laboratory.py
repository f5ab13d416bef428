from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lab import cli
from lab.cli import keystream_app
from lab.randomness.battery import LABELS, MIN_BITS, p_values
from lab.randomness.laboratory import TEST_KEY, Candidate, RandomnessResult, examine, workers
from lab.randomness.report import as_json, results_table
from lab.randomness.verdict import judge
from lab.reduced import reduced
from shared.errors import BadInput
from shared.keystream.backend import open_backend
from shared.keystream.network import load_network
from shared.keystream.reference import ReferenceBackend
from shared.keystream.torch_cpu import TorchCpuBackend


def invoke(*arguments: str):
    return CliRunner().invoke(keystream_app, list(arguments), standalone_mode=False)


@pytest.fixture(scope="module")
def result() -> RandomnessResult:
    with workers(1) as pool:
        return examine(Candidate("bp"), sequences=2, bits=MIN_BITS, pool=pool)


def test_sequence_i_is_the_ith_piece_of_the_stream(result) -> None:
    generator = open_backend(load_network("bp"), "cpu").keyed(TEST_KEY)
    bits = np.unpackbits(generator.generate(0, 2 * MIN_BITS // 8))
    assert np.array_equal(result.p_values[1], p_values(bits[MIN_BITS:]), equal_nan=True)
    assert result.p_values.shape == (2, len(LABELS))
    assert not result.failed


def test_too_short_sequences_are_refused_before_work_begins() -> None:
    with pytest.raises(BadInput, match="1,000,000"):
        examine(Candidate("bp"), sequences=1, bits=MIN_BITS - 1, pool=None)


def test_the_json_holds_both_verdicts_of_every_part(result) -> None:
    loaded = json.loads(json.dumps(as_json([result], bits=MIN_BITS)))
    (generator,) = loaded["generators"]
    assert generator["title"] == "bp, stream" and generator["sequences"] == 2
    assert generator["digest"] == load_network("bp").digest.hex()
    assert [(p["test"], p["part"]) for p in generator["parts"]] == list(LABELS)


def table_of(result: RandomnessResult) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(results_table([result]))
    return capture.get()


def test_the_table_counts_what_misses_and_names_a_failure() -> None:
    found = (
        np.random.default_rng(4).permuted(np.tile(np.arange(200), (188, 1)), axis=1).T + 0.5
    ) / 200
    good = RandomnessResult(Candidate("aes", control=True), found, judge(found), 0.5)
    assert "AES-256-CTR" in table_of(good) and "passed" in table_of(good)
    bad = found.copy()
    bad[:, [LABELS.index(("serial", "first difference"))]] = 0.0
    text = table_of(RandomnessResult(Candidate("aes", control=True), bad, judge(bad), 0.5))
    (row,) = [line for line in text.splitlines() if "2.11 serial" in line]
    assert "0.000" in row and "✗1" in row and "FAILED" in text
    linear = RandomnessResult(Candidate("mt19937", control=True), found, judge(found), 1e-9)
    assert linear.failed and "FAILED" in table_of(linear)


@pytest.mark.parametrize(
    ("bad", "status"), [((), 0), (("mt19937",), 0), (("aes",), 1), (("bp",), 1)]
)
def test_the_command_fails_only_where_a_good_generator_does(
    monkeypatch, tmp_path, bad, status
) -> None:
    found = np.full((2, 188), 0.5)

    def quick(candidate, **_: object) -> RandomnessResult:
        return RandomnessResult(
            candidate, found, judge(found), 0.0 if candidate.name in bad else 0.5
        )

    monkeypatch.setattr(cli, "examine", quick)
    path = tmp_path / "verdicts.json"
    outcome = invoke("test", "--controls", "aes,mt19937", "--json", str(path), "--jobs", "1")
    assert outcome.return_value == status, outcome.output
    titles = [g["title"] for g in json.loads(path.read_text())["generators"]]
    assert titles == ["bp, stream", "AES-256-CTR", "MT19937, lowest bits packed"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("test", "no-such-network"),
        ("test", "--mode", "sideways"),
        ("test", "--controls", "dice"),
        ("test", "--key", "00"),
        ("dump", "--key", "zz" * 32),
        ("dump", "--mode", "sideways"),
        ("dump", "--backend", "abacus"),
        ("test", "--layers", "1"),  # of bp: 64 lanes, no whole block
        ("dump", "--layers", "4"),
    ],
)
def test_what_is_wrong_with_the_options_is_said_before_work_begins(arguments) -> None:
    assert isinstance(invoke(*arguments).exception, BadInput)


def dump_program(*arguments: str) -> list[str]:
    program = "from lab.cli import keystream_app; keystream_app()"
    return [sys.executable, "-c", program, "dump", *arguments]


def test_dump_writes_the_keystream_of_the_key_and_nothing_else() -> None:
    key = bytes(range(1, 33))
    run = subprocess.run(
        dump_program("--key", key.hex(), "--bytes", "1000", "--backend", "reference"),
        capture_output=True,
        check=True,
        timeout=60,
    )
    expected = open_backend(load_network("bp"), "cpu").keyed(key).generate(0, 1_000)
    assert run.stdout == expected.tobytes()


def test_dump_cuts_a_network_off_where_it_is_asked_to() -> None:
    run = subprocess.run(
        dump_program("--family", "cnn", "--layers", "2", "--bytes", "1000", "--backend", "cpu"),
        capture_output=True,
        check=True,
        timeout=60,
    )
    cut = reduced(load_network("cnn"), 2)
    assert run.stdout == ReferenceBackend(cut).keyed(TEST_KEY).generate(0, 1_000).tobytes()


def test_the_tests_are_run_on_the_layers_asked_for(monkeypatch) -> None:
    examined = []

    def quick(candidate, **_: object) -> RandomnessResult:
        examined.append(candidate)
        found = np.full((2, 188), 0.5)
        return RandomnessResult(candidate, found, judge(found), 0.5)

    monkeypatch.setattr(cli, "examine", quick)
    invoke("test", "cnn", "--layers", "1", "--controls", "none", "--jobs", "1")
    (candidate,) = examined
    assert candidate.title == "cnn, stream, layers 1 to 1"
    with workers(1) as pool:
        (p_value,) = examine(candidate, sequences=1, bits=MIN_BITS, pool=pool).p_values[:, 0]
    one_layer = TorchCpuBackend(reduced(load_network("cnn"), 1)).keyed(TEST_KEY)
    bits = np.unpackbits(one_layer.generate(0, MIN_BITS // 8))
    assert p_value == p_values(bits)[0]


def test_an_endless_dump_ends_with_its_reader_and_status_0() -> None:
    with subprocess.Popen(
        dump_program(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(1_000)
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == b""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.netlab.impairment import Impairment, ImpairmentStep, Schedule
from lab.netlab.profiles import PROFILES, load_profile
from shared.errors import BadInput


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "own.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("name", "rtt_ms", "loss", "rate_mbit"),
    [
        ("lan", 0.2, 0, 1000),
        ("clinic", 20, 0.001, 20),
        ("uplink", 40, 0.01, 8),
        ("4g", 60, 0.01, 5),
        ("bad", 120, 0.03, 2),
        ("outage", 40, 0.01, 8),
    ],
)
def test_named_profiles_are_what_they_say(
    name: str, rtt_ms: float, loss: float, rate_mbit: float
) -> None:
    profile = load_profile(name)
    ways = [way.steps[0].impairment for way in (profile.forward, profile.backward)]
    assert sum(way.delay_ms for way in ways) == pytest.approx(rtt_ms)
    assert [way.mean_loss for way in ways] == pytest.approx([loss, loss])
    assert [way.rate_mbit for way in ways] == [rate_mbit, rate_mbit]


def test_loss_of_the_mobile_and_the_bad_path_comes_in_bursts() -> None:
    for name in ("4g", "bad"):
        way = PROFILES[name].forward.steps[0].impairment
        assert way.loss == 0 and way.burst_loss > 0 and way.burst_packets > 1


def test_the_mobile_path_falls_and_recovers_with_the_same_buffer() -> None:
    steps = PROFILES["4g"].forward.steps
    assert [(step.at_s, step.impairment.rate_mbit) for step in steps] == [
        (0, 5),
        (10, 1.5),
        (20, 5),
    ]
    assert len({step.impairment.queue_bytes for step in steps}) == 1


def test_the_outage_lasts_three_seconds_both_ways() -> None:
    for schedule in (PROFILES["outage"].forward, PROFILES["outage"].backward):
        assert [(step.at_s, step.impairment.outage) for step in schedule.steps] == [
            (0, False),
            (10, True),
            (13, False),
        ]


def test_a_file_gives_a_path_of_ones_own(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        name = "ours"
        description = "the line of the west wing"
        [forward]
        delay_ms = 15
        loss = 0.02
        rate_mbit = 6
        queue_ms = 80
        [[forward.change]]
        at_s = 5
        rate_mbit = 2
        [[forward.change]]
        at_s = 8
        queue_bytes = 30000
        outage = true
        [backward]
        delay_ms = 10
        """,
    )
    profile = load_profile(file)
    figures = {"delay_ms": 15.0, "loss": 0.02}
    assert (profile.name, profile.description) == ("ours", "the line of the west wing")
    assert profile.forward == Schedule(
        (
            ImpairmentStep(0.0, Impairment(**figures, rate_mbit=6, queue_ms=80)),
            ImpairmentStep(5.0, Impairment(**figures, rate_mbit=2, queue_ms=80)),
            ImpairmentStep(
                8.0, Impairment(**figures, rate_mbit=2, queue_bytes=30_000, outage=True)
            ),
        )
    )
    assert profile.backward == Schedule.constant(Impairment(delay_ms=10))


def test_without_backward_both_directions_are_alike(tmp_path: Path) -> None:
    profile = load_profile(str(write(tmp_path, 'name = "x"\n[forward]\ndelay_ms = 1\n')))
    assert profile.backward == profile.forward


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = ", "not a TOML file"),
        ('name = "x"', "forward: Field required"),
        ("[forward]\n", "name: Field required"),
        ('name = "x"\n[forward]\ndelay = 3', "forward.delay: Extra inputs"),
        ('name = "x"\n[forward]\nloss = "much"', "forward.loss: Input should be a valid number"),
        ('name = "x"\n[forward]\nloss = 3', "loss is a share"),
        ('name = "x"\n[forward]\nrate_mbit = 3', "give queue_ms or queue_bytes"),
        ('name = "x"\n[forward]\n[[forward.change]]\nloss = 0.1', "change.0.at_s: Field required"),
        ('name = "x"\n[forward]\n[[forward.change]]\nat_s = 0', "change.0.at_s: .*greater than 0"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(BadInput, match=complaint):
        load_profile(write(tmp_path, text))


def test_an_unknown_profile_is_refused_with_the_names() -> None:
    with pytest.raises(BadInput, match="no profile 'moon'") as raised:
        load_profile("moon")
    assert "uplink" in raised.value.hint


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(BadInput, match="can't read the profile"):
        load_profile(tmp_path / "x.toml")

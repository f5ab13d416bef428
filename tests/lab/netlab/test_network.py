"""The shell: namespaces, devices and the process between them.  It needs root and TUN."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

import lab.netlab.echo
from lab.netlab import ImpairedNetwork, Impairment, ImpairmentStep, Profile, Schedule
from lab.netlab.check import check_profile
from lab.netlab.namespace import check_machine, ip, remove_leftovers
from lab.netlab.program import Job
from lab.netlab.run import TcpFlow, run_jobs
from lab.netlab.tun import open_tun
from shared.errors import BadInput, DeviceUnavailable, VeilscopeError

LIMIT_S = 30.0  # a bound on waiting; nothing is measured by it


@pytest.fixture(scope="module")
def allowed() -> None:
    """Skips where machine or user can't have an impaired network."""
    try:
        check_machine()
        with ImpairedNetwork("lan"):
            pass
    except DeviceUnavailable as error:
        pytest.skip(f"no impaired network here: {error}")


needs_namespaces = pytest.mark.usefixtures("allowed")

FREE = Schedule.constant(Impairment())
UDP_TO_RIGHT = """
import socket, sys, time
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(int(sys.argv[2])):
    udp.sendto(number.to_bytes(4, "big"), (sys.argv[1], 9))
"""


def profile(forward: Impairment, *steps: ImpairmentStep) -> Profile:
    return Profile("test", "", Schedule((ImpairmentStep(0, forward), *steps)), FREE)


def send(net: ImpairedNetwork, count: int) -> None:
    command = [sys.executable, "-S", "-c", UDP_TO_RIGHT, net.right.address, str(count)]
    assert net.left.popen(command).wait(LIMIT_S) == 0


def namespaces() -> set[str]:
    return {line.split()[0] for line in ip("netns", "list").splitlines()}


def of_process(process: int) -> set[str]:
    return {name for name in namespaces() if name.startswith(f"vslab-{process}-")}


def gone(process: int) -> bool:
    """Whether the namespaces of a run are gone, soon."""
    limit_at = time.monotonic() + LIMIT_S
    while of_process(process):
        if time.monotonic() > limit_at:
            return False
        time.sleep(0.05)
    return True


@needs_namespaces
def test_the_ends_reach_each_other_and_themselves_and_all_is_removed() -> None:
    with ImpairedNetwork("lan") as net:
        names = {net.left.name, net.right.name}
        assert names <= namespaces()
        listening = subprocess.PIPE
        echo = [sys.executable, "-I", lab.netlab.echo.__file__]
        for server, address in ((net.right, net.right.address), (net.left, "127.0.0.1")):
            serving = server.popen([*echo, "serve", address], stdout=listening)
            assert serving.stdout is not None and serving.stdout.readline()
            probe = [*echo, "probe", address, "--count", "3", "--interval-ms", "1"]
            answer, _ = net.left.popen(probe, stdout=subprocess.PIPE).communicate(timeout=LIMIT_S)
            assert b'"returned": 3' in answer
            serving.kill()
            serving.communicate()
    assert not names & namespaces()


@needs_namespaces
def test_a_host_candidate_is_found_inside() -> None:
    program = "from aioice.ice import get_host_addresses as get; print(*get(True, True))"
    with ImpairedNetwork("lan") as net:
        for end in (net.left, net.right):
            found = end.popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
            assert found.communicate(timeout=LIMIT_S)[0].decode().split() == [end.address]


@needs_namespaces
def test_counters_tell_what_the_path_did_since_the_beginning() -> None:
    with ImpairedNetwork(profile(Impairment(loss=0.5)), seed=1) as net:
        send(net, 10)
        net.begin()
        send(net, 400)
        counts = net.counters()
    assert counts.forward.offered_packets == 400
    assert counts.forward.offered_bytes == 400 * 32
    assert 150 < counts.forward.lost < 250
    assert counts.forward.delivered_packets == 400 - counts.forward.lost
    assert counts.device_dropped == 0
    assert set(counts.forward.flows) == {"udp 10.77.1.1 > 10.77.2.1"}


@needs_namespaces
def test_the_same_seed_loses_the_same_packets() -> None:
    lost = []
    for seed in (1, 1, 2):
        with ImpairedNetwork(profile(Impairment(loss=0.5)), seed=seed) as net:
            net.begin()
            send(net, 200)
            lost.append(net.counters().forward.lost)
    assert lost[0] == lost[1] != lost[2]


@needs_namespaces
def test_an_outage_by_schedule_begins_with_the_beginning() -> None:
    gone = Impairment(outage=True)
    with ImpairedNetwork(profile(Impairment(), ImpairmentStep(0.001, gone))) as net:
        send(net, 20)
        assert net.counters().forward.delivered_packets == 20
        net.begin()
        time.sleep(0.002)
        send(net, 20)
        assert net.counters().forward.outage_dropped == 20


@needs_namespaces
def test_a_program_is_inside_as_soon_as_it_is_started() -> None:
    with ImpairedNetwork("lan") as net:
        for end in (net.left, net.right):
            sleeping = end.popen(["sleep", "1000"])
            inside = Path(f"/proc/{sleeping.pid}/ns/net").samefile(Path("/run/netns") / end.name)
            assert inside


@needs_namespaces
def test_programs_left_running_are_ended_with_the_network() -> None:
    with ImpairedNetwork("lan") as net:
        sleeping = net.left.popen(["sleep", "1000"])
    assert sleeping.wait(LIMIT_S) == -signal.SIGKILL


@needs_namespaces
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_runner_that_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # background jobs ignore it
        "from lab.netlab.program import Job\n"
        "from lab.netlab.run import run_jobs\n"
        "run_jobs('lan', [Job('left', ['sh', '-c', 'touch $0; sleep 1000', sys.argv[1]])])"
    )
    up = tmp_path / "up"
    runner = subprocess.Popen([sys.executable, "-c", program, up], stderr=subprocess.DEVNULL)
    limit_at = time.monotonic() + LIMIT_S
    while not up.exists():
        assert runner.poll() is None and time.monotonic() < limit_at
        time.sleep(0.02)
    assert len(of_process(runner.pid)) == 2
    runner.send_signal(number)
    runner.wait(LIMIT_S)
    assert gone(runner.pid)


@needs_namespaces
def test_what_a_dead_run_left_behind_is_removed_and_the_living_are_let_be() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left_over = f"vslab-{dead.pid}-1-left"
    ip("netns", "add", left_over)
    with ImpairedNetwork("lan") as net:  # which clears up before it begins
        assert left_over not in namespaces()
        assert net.left.name not in remove_leftovers()
        assert net.left.name in namespaces()


@needs_namespaces
def test_a_link_that_died_is_told() -> None:
    with ImpairedNetwork("lan") as net:
        assert net._pump is not None
        net._pump.kill()
        net._pump.wait()
        with pytest.raises(VeilscopeError, match="link has ended"):
            net.counters()


@needs_namespaces
def test_a_run_gathers_status_use_logs_and_series(tmp_path: Path) -> None:
    write = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('{\"x\": 1}\\n')"
    result = run_jobs(
        "lan",
        [
            Job("left", ["{python}", "-S", "-c", write, "{folder}/a.jsonl"]),
            Job("right", "sh -c 'echo at {right} of pair {pair}; exit 3'", pair=2),
            Job("right", "sh -c 'kill -9 $$'"),
        ],
    )
    left, right, killed = result.programs
    assert (left.status, right.status, killed.status) == (0, 3, -9)
    assert right.output == "at 10.77.2.2 of pair 2\n"
    assert left.cpu_s > 0 and left.peak_rss_mib > 1
    assert result.logs == {"a.jsonl": [{"x": 1}]}
    assert not result.succeeded and not result.timed_out
    assert result.profile["name"] == "lan"


@needs_namespaces
def test_a_run_ends_programs_at_its_limit_and_removes_the_folders_of_the_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f"veilscope-netlab-{dead.pid}-x").mkdir()
    result = run_jobs("lan", [Job("left", "sleep 1000")], limit_s=0.3)
    assert result.timed_out and result.programs[0].status == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


@needs_namespaces
def test_a_tcp_flow_fills_the_bottleneck_and_no_more() -> None:
    slow = profile(Impairment(delay_ms=1, rate_mbit=4, queue_ms=50))
    result = run_jobs(slow, [], tcp=[TcpFlow(seconds=1.5)])
    goodput = result.tcp[0].goodput
    assert goodput is not None and sum(goodput.series) == goodput.nbytes
    sent = [sample["delivered_bytes"] for sample in result.series["forward"]]
    assert max(sent) <= 4e6 / 8 * 0.1 + 2 * 1500
    assert goodput.nbytes <= result.link["forward"]["delivered_bytes"]
    assert result.link["forward"]["max_queue_ms"] > 20


@needs_namespaces
@pytest.mark.parametrize("command", ["sleep {nowhere}", "sleep '", "", "no-such-program-here"])
def test_a_command_that_cannot_be_used_is_refused_and_all_is_removed(command: str) -> None:
    with pytest.raises(BadInput):
        run_jobs("lan", [Job("left", command)])
    assert not of_process(os.getpid())


def test_without_root_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda _: "/sbin/ip")
    with pytest.raises(DeviceUnavailable, match="needs root") as raised, ImpairedNetwork("lan"):
        pass
    assert raised.value.exit_status != 0 and raised.value.hint


def test_without_the_program_ip_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(DeviceUnavailable, match="program `ip`") as raised, ImpairedNetwork("lan"):
        pass
    assert "iproute2" in raised.value.hint


def test_without_tun_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.netlab.tun._CLONE_DEVICE", "/dev/no-such-device")
    with pytest.raises(DeviceUnavailable, match="/dev/no-such-device") as raised:
        open_tun("vstest")
    assert raised.value.hint


@needs_namespaces
def test_the_link_measured_with_itself_does_what_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lab.netlab.check._STEP_S", 0.5)
    monkeypatch.setattr("lab.netlab.check._SETTLE_S", 0.2)
    slow = Impairment(delay_ms=5, rate_mbit=4, queue_ms=30)
    check = check_profile(
        profile(
            slow,
            ImpairmentStep(10, replace(slow, rate_mbit=2)),
            ImpairmentStep(20, Impairment(outage=True)),
        ),
        echoes=20,
    )
    assert check.rtt_ms[0] >= check.rtt_range_ms[0] == pytest.approx(5.4)
    assert check.loss == check.loss_measured == 0
    configured = [rate.configured_mbit for rate in check.rates]
    assert configured == [4, 2, 0]
    for rate in check.rates:  # of a flood that a busy machine may hold up, so: no more than that
        assert rate.configured_mbit is not None
        assert rate.measured_mbit <= rate.configured_mbit * 1.1
    assert check.queue_measured_ms <= 30.0 == check.queue_ms

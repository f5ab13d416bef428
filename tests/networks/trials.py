"""Everything that is tried between the three hosts, by name.

A trial plays one session and says what came of it; what is right the tests say.  By hand:
`python -m tests.networks drop10`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.netlab import ImpairedNetwork, Impairment, Profile, Schedule
from tests.networks.hosts import Host, Layout, Network
from tests.networks.portal import portal
from tests.networks.programs import HeldUp
from tests.networks.servers import (
    PROXY,
    certificate,
    ice_config,
    proxy_server,
    turn_server,
)
from tests.networks.sessions import Outcome, Session, session, signaling, stream
from tests.networks.videoserver import STREAM, film, serving

__all__ = ["TRIALS", "Trial", "play"]

AFTERWARDS_S = 5.0  # of pictures after what happens, for what is to go on

Play = Callable[[Path], Outcome]


@dataclass(frozen=True)
class Trial:
    """`needs`: programs beside those that every trial needs."""

    name: str
    play: Play
    needs: tuple[str, ...] = ()


TRIALS: dict[str, Trial] = {}


def add(name: str, play: Play, *needs: str) -> None:
    TRIALS[name] = Trial(name, play, needs)


def play(name: str, folder: Path) -> Outcome:
    """Play the trial of this name; `folder` keeps what the programs wrote."""
    return TRIALS[name].play(folder)


# -- something happens in the middle of a stream ---------------------------------------------------

Happening = Callable[[Network, Session], AbstractContextManager[object]]


def interrupted(
    happening: Happening,
    duration_s: float,
    layout: Layout | None = None,
    *,
    source_stops: bool = False,
) -> Play:
    """A stream in which `happening` lasts for a while, and during which the source may stop."""

    def played(folder: Path) -> Outcome:
        seconds = 1.0 + (0 if source_stops else duration_s) + AFTERWARDS_S
        with Network(layout) as network, stream(network, folder, seconds=seconds) as running:
            with happening(network, running):
                time.sleep(duration_s)
            return running.outcome()

    return played


@contextmanager
def _stopped_both(_network: Network, running: Session) -> Iterator[None]:
    with running.sender.stopped(), running.receiver.stopped():
        yield


for seconds in (3, 6, 10, 60, 115):
    add(f"drop{seconds}", interrupted(lambda network, _: network.silent(), seconds))
for seconds in (2, 6, 10):
    add(f"linkdown{seconds}", interrupted(lambda network, _: network.unplugged(), seconds))
for seconds in (3, 6, 60):
    add(
        f"stop-sender-{seconds}",
        interrupted(lambda _, at: at.sender.stopped(), seconds, source_stops=True),
    )
    add(f"stop-receiver-{seconds}", interrupted(lambda _, at: at.receiver.stopped(), seconds))
    add(f"stop-both-{seconds}", interrupted(_stopped_both, seconds, source_stops=True))


def lost_for_good(folder: Path) -> Outcome:
    """The path is silent for longer than anybody waits."""
    with Network() as network, stream(network, folder, seconds=400.0) as running:
        with network.silent():
            return running.outcome(180.0)


add("lost-for-good", lost_for_good)


def slowed(which: str, share: float) -> Play:
    def slow(_: Network, running: Session) -> AbstractContextManager[object]:
        program = running.sender if which == "sender" else running.receiver
        return program.slowed(share)

    return interrupted(slow, 10.0)


add("cpu-sender", slowed("sender", 0.5))
add("cpu-receiver", slowed("receiver", 0.5))


def held_up(sender: HeldUp | None, receiver: HeldUp | None) -> Play:
    """A stream of which an end's event loop is blocked again and again."""

    def played(folder: Path) -> Outcome:
        with Network() as network, signaling(network.router, folder) as url:
            with session(
                network,
                folder,
                url,
                seconds=8.0,
                sender_held_up=sender,
                receiver_held_up=receiver,
            ) as running:
                return running.outcome()

    return played


# Neither divides the time between two pictures, so that every moment of the loop is hit.
add("held-up-sender", held_up(HeldUp(every_s=0.437, for_s=0.21), None))
add("held-up-receiver", held_up(None, HeldUp(every_s=0.437, for_s=0.21)))


# -- the path moves --------------------------------------------------------------------------------


def moved(
    before: Callable[[Network], None],
    event: Callable[[Network], None],
    layout: Layout | None = None,
) -> Play:
    """A stream whose path is laid by `before` and is another one after `event`."""

    def played(folder: Path) -> Outcome:
        with Network(layout) as network:
            before(network)
            with stream(network, folder, seconds=1.0 + 2 * AFTERWARDS_S) as running:
                event(network)
                return running.outcome()

    return played


def _as_laid(_: Network) -> None:
    """Nothing more than what is there."""


def _new_address(network: Network) -> None:
    network.sender.ip(
        "addr del 10.77.1.1/24 dev lan",
        "addr add 10.77.1.77/24 dev lan",
        "route replace default via 10.77.1.254",
    )


def _new_address_of_the_receiver(network: Network) -> None:
    network.receiver.ip(
        "addr del 10.77.2.1/24 dev lan",
        "addr add 10.77.2.77/24 dev lan",
        "route replace default via 10.77.2.254",
    )


def _new_addresses(network: Network) -> None:
    """Neither end can tell the other, but by the signaling server."""
    _new_address(network)
    _new_address_of_the_receiver(network)


add("docker", moved(Network.container_bridges, _as_laid))
add(
    "nat-rebind",
    moved(
        lambda network: network.translate("20000-20100"),
        lambda network: network.translate("30000-30100"),
    ),
    "conntrack",
)
add(
    "two-if-down",
    moved(Network.second_cable, lambda network: network.sender.ip("link set lan down")),
)
add("addr-change", moved(_as_laid, _new_address))
add("addr-change-receiver", moved(_as_laid, _new_address_of_the_receiver))
add("addr-change-both", moved(_as_laid, _new_addresses))
add(
    "ipv4-dies",
    moved(
        _as_laid,
        lambda network: network.router.iptables("-A FORWARD -p udp -j DROP"),
        Layout(ipv6=True),
    ),
)
add(
    "ipv6-dies",
    moved(
        _as_laid,
        lambda network: network.router.run("ip6tables -w -A FORWARD -p udp -j DROP"),
        Layout(ipv6=True),
    ),
)


# -- ways to reach each other ----------------------------------------------------------------------

UDP, TCP = "turn:10.77.1.254:3478?transport=udp", "turn:10.77.1.254:3478?transport=tcp"
TLS = "turns:10.77.1.254:5349?transport=tcp"
DEAD = "turn:10.77.1.254:3999?transport=udp"


def over_turn(
    *servers: str | list[str],
    blocked: str = "",
    direct: bool = False,
    trusting: bool = False,
    by_variable: bool = False,
    **changed: str,
) -> Play:
    """A session that has nothing but TURN, by these entries of the server's ICE file.

    `blocked` is a rule of what the router does not let in; `trusting`: whether the two were given
    the authority of the TURN server's certificate, by `--ca` (and then signaling runs over TLS as
    well) or, `by_variable`, in the environment.
    """

    def played(folder: Path) -> Outcome:
        own = certificate(folder)
        config = ice_config(folder, servers, **changed)
        options: tuple[str | Path, ...] = ("--ice-config", config)
        ends: tuple[str | Path, ...] = ()
        environment = {"SSL_CERT_FILE": str(own.authority)} if by_variable else {}
        if trusting and not by_variable:
            options += ("--cert", own.chain, "--key", own.key)
            ends = ("--ca", own.authority)
        with (
            Network(Layout(direct=direct)) as network,
            turn_server(network.router, folder, own),
            signaling(network.router, folder, *options) as url,
        ):
            if blocked:
                network.router.iptables(f"-A INPUT {blocked} -j DROP")
            with session(
                network,
                folder,
                url,
                sending=ends,
                receiving=ends,
                sender_environment=environment,
                receiver_environment=environment,
            ) as running:
                return running.outcome()

    return played


NO_UDP = "-p udp --dport 3478"
for name, playing in {
    "turn-udp": over_turn([UDP]),
    "turn-tcp": over_turn([TCP]),
    "turn-tls-ca-option": over_turn([TLS], trusting=True),
    "turn-tls-ca-variable": over_turn([TLS], trusting=True, by_variable=True),
    "turn-tls-no-ca": over_turn([TLS]),
    "turn-wrong-credentials": over_turn([UDP], credential="wrong"),
    "turn-udp-blocked-list": over_turn([UDP, TCP], blocked=NO_UDP),
    "turn-udp-blocked-two": over_turn([UDP], [TCP], blocked=NO_UDP),
    "turn-one-side-udp-blocked": over_turn([UDP, TCP], blocked="-i receiver0 -p udp"),
    "turn-second-server": over_turn([DEAD], [UDP]),
    "turn-dead": over_turn([DEAD]),
    "turn-urls-a-string": over_turn("turn:10.77.1.254:3478"),
    "turn-ipv6-literal-direct": over_turn(["turn:[fd77:1::254]:3478"], direct=True),
    "turn-refused-direct": over_turn(["turn:10.77.1.254:3999?transport=tcp"], direct=True),
    "turn-blackhole-direct": over_turn([TCP], direct=True, blocked="-p tcp --dport 3478"),
    "turn-no-such-name-direct": over_turn(["turn:turn.invalid:3478"], direct=True),
    "turn-untrusted-direct": over_turn([TLS], direct=True),
}.items():
    add(name, playing, "turnserver")


def behind_a_proxy(
    variables: dict[str, str] | None = None, options: tuple[str, ...] = (), *, tls: bool = False
) -> Play:
    """The receiver reaches the signaling server by way of an HTTP proxy only."""

    def played(folder: Path) -> Outcome:
        own = certificate(folder)
        secured = ("--cert", own.chain, "--key", own.key) if tls else ()
        trusting = ("--ca", own.authority) if tls else ()
        with (
            Network() as network,
            proxy_server(network.router, folder),
            signaling(network.router, folder, *secured) as url,
        ):
            network.router.iptables("-A INPUT -i receiver0 -p tcp --dport 8765 -j REJECT")
            with session(
                network,
                folder,
                url,
                sending=trusting,
                receiving=(*trusting, *options),
                receiver_environment=variables,
            ) as running:
                return running.outcome(25.0)

    return played


for name, playing in {
    "proxy-http": behind_a_proxy({"HTTP_PROXY": PROXY}),
    "proxy-http-lower-case": behind_a_proxy({"http_proxy": PROXY}),
    "proxy-https": behind_a_proxy({"HTTPS_PROXY": PROXY}, tls=True),
    "proxy-all": behind_a_proxy({"ALL_PROXY": PROXY}),
    "proxy-option": behind_a_proxy(options=("--proxy", PROXY)),
    "proxy-not-for-this-host": behind_a_proxy({"HTTP_PROXY": PROXY, "NO_PROXY": "10.77.1.254"}),
    "proxy-none": behind_a_proxy(),
}.items():
    add(name, playing, "squid")


def on_small_packets(layout: Layout) -> Play:
    """Pictures of several packets each, on a path that takes small ones only."""

    def played(folder: Path) -> Outcome:
        with Network(layout) as network, signaling(network.router, folder) as url:
            with session(network, folder, url, seconds=4.0, size="320x240") as running:
                return running.outcome()

    return played


for mtu in (1280, 1200, 600):
    add(f"mtu{mtu}", on_small_packets(Layout(mtu=mtu)), "ethtool")
for mtu in (1280, 1240, 1200, 600):
    add(f"icmp{mtu}", on_small_packets(Layout(far_mtu=mtu)), "ethtool")
    add(f"hole{mtu}", on_small_packets(Layout(far_mtu=mtu, icmp=False)), "ethtool")


def hole_opens(folder: Path) -> Outcome:
    """A path takes full packets at first, then smaller ones only, and nobody says so."""
    with (
        Network(Layout(far_mtu=1499, icmp=False)) as network,
        signaling(network.router, folder) as url,
    ):
        with session(network, folder, url, seconds=12.0, size="320x240") as running:
            if running.live():
                time.sleep(2.0)
            network.router.ip("link set receiver0 mtu 900")
            return running.outcome()


add("hole-opens", hole_opens, "ethtool")


def only_ipv6(folder: Path) -> Outcome:
    """No IPv4 anywhere."""
    with Network(Layout(ipv4=False, ipv6=True)) as network:
        with (
            signaling(network.router, folder, listen="::", url_host="[fd77:1::254]") as url,
            session(network, folder, url) as running,
        ):
            return running.outcome()


def only_link_local(folder: Path) -> Outcome:
    """A cable between the two and nothing else; the signaling server beside the sender."""
    with Network(Layout(ipv4=False, ipv6=True)) as network:
        address = network.direct_cable()
        with (
            signaling(network.sender, folder, listen="::", url_host="[::1]") as url,
            session(network, folder, url, receiver_url=f"ws://[{address}]:8765") as running,
        ):
            return running.outcome()


def one_family_is_dead(dead: str) -> Play:
    """Both ends have IPv4 and IPv6, but the router carries UDP of the other family alone."""

    def played(folder: Path) -> Outcome:
        with Network(Layout(ipv6=True)) as network, signaling(network.router, folder) as url:
            network.router.run(f"{dead} -w -A FORWARD -p udp -j DROP")
            with session(network, folder, url) as running:
                return running.outcome()

    return played


add("ipv6-only", only_ipv6)
add("link-local-only", only_link_local)
add("ipv4-and-dead-ipv6", one_family_is_dead("ip6tables"))
add("ipv6-and-dead-ipv4", one_family_is_dead("iptables"))


# -- packets are lost ------------------------------------------------------------------------------


def lossy(share: float, only: str | None = None) -> Play:
    """UDP loses this share of its packets from the beginning on."""

    def played(folder: Path) -> Outcome:
        with Network() as network, signaling(network.router, folder) as url:
            network.lose(share, only=only)  # type: ignore[arg-type]
            with session(network, folder, url, seconds=3.0) as running:
                return running.outcome(75.0)

    return played


def clean_end(share: float) -> Play:
    """UDP loses this share of its packets once the two have paired, up to the end and after."""

    def played(folder: Path) -> Outcome:
        with Network() as network, stream(network, folder, seconds=2.5) as running:
            network.lose(share)
            return running.outcome()

    return played


for percent in (10, 20, 40):
    add(f"pair{percent}", lossy(percent / 100))
for percent in (5, 10, 20):
    for attempt in "abc":
        add(f"bye{percent}{attempt}", clean_end(percent / 100))
add("pair20-to-receiver", lossy(0.2, "to receiver"))
add("pair20-to-sender", lossy(0.2, "to sender"))


# -- the server that brings them together ----------------------------------------------------------


def instead_of_signaling(answer: str) -> Play:
    """The receiver's way to the server ends at somebody else, who answers `answer` to anything."""

    def played(folder: Path) -> Outcome:
        with Network() as network, signaling(network.router, folder) as url, ExitStack() as stack:
            stack.enter_context(portal(network.router, folder, answer))
            network.router.iptables(
                "-t nat -A PREROUTING -i receiver0 -p tcp --dport 8765 -j REDIRECT --to-ports 8080"
            )
            with session(network, folder, url) as running:
                return running.outcome(25.0)

    return played


add("captive-portal-page", instead_of_signaling("page"))
add("captive-portal-redirect", instead_of_signaling("redirect"))


def no_such_name(folder: Path) -> Outcome:
    """The receiver's name service knows nothing of the server."""
    with (
        Network() as network,
        signaling(network.router, folder) as url,
        session(network, folder, url, receiver_url="ws://signaling.invalid:8765") as running,
    ):
        return running.outcome(25.0)


add("no-such-name", no_such_name)


# -- a source on the network -----------------------------------------------------------------------


def from_a_stream(
    how: str,
    *sizes: tuple[int, int],
    seconds: float,
    source: str = STREAM,
    options: tuple[str, ...] = (),
) -> Play:
    """The sender shows a video stream of a server that sends it in so many seconds, or does not."""

    def played(folder: Path) -> Outcome:
        file = film(folder / "film.ts", *sizes)
        with (
            Network() as network,
            serving(network.router, folder, file, how, seconds),
            signaling(network.router, folder) as url,
            session(network, folder, url, source=source, size=None, sending=options) as running,
        ):
            running.sender.ended(60.0)
            return running.outcome(5.0)

    return played


SMALL, LARGE = (320, 240), (480, 360)
add("source-closes", from_a_stream("closes", SMALL, seconds=4.0, options=("--frames", "60")))
add("source-resizes", from_a_stream("sends", SMALL, LARGE, seconds=4.0, options=("--frames", "80")))
add("source-mute", from_a_stream("mute", SMALL, seconds=4.0, source="rtsp://10.77.1.254:8800/x"))


# -- paths that are strange in a way that no router rule makes -------------------------------------


@dataclass(frozen=True)
class Impaired:
    """Two hosts on a path of a model (`lab.netlab`), the signaling server beside the sender."""

    sender: Host
    receiver: Host


def impaired(to_receiver: Impairment, to_sender: Impairment, seconds: float = 6.0) -> Play:
    def played(folder: Path) -> Outcome:
        profile = Profile(
            "strange", "", Schedule.constant(to_receiver), Schedule.constant(to_sender)
        )
        with ImpairedNetwork(profile, seed=7) as modelled:
            hosts = Impaired(Host(modelled.left.name), Host(modelled.right.name))
            address = modelled.left.address
            with (
                signaling(hosts.sender, folder, url_host=address) as url,
                session(hosts, folder, url, seconds=seconds) as running,
            ):
                return running.outcome(75.0)

    return played


for name, to_receiver, to_sender in (
    ("rtt600", Impairment(delay_ms=300), Impairment(delay_ms=300)),
    ("rtt1500", Impairment(delay_ms=750), Impairment(delay_ms=750)),
    (
        "reordering",
        Impairment(delay_ms=20, reorder=0.2, reorder_ms=30),
        Impairment(delay_ms=20, reorder=0.2, reorder_ms=30),
    ),
    (
        "duplicates",
        Impairment(delay_ms=10, duplicate=0.3),
        Impairment(delay_ms=10, duplicate=0.3),
    ),
    ("one-way-slow", Impairment(delay_ms=5), Impairment(delay_ms=400)),
    ("lossy-to-receiver", Impairment(delay_ms=20, loss=0.2), Impairment(delay_ms=20)),
    ("lossy-to-sender", Impairment(delay_ms=20), Impairment(delay_ms=20, loss=0.2)),
    (
        "jitter",
        Impairment(delay_ms=100, jitter_ms=90, keep_order=False),
        Impairment(delay_ms=100, jitter_ms=90, keep_order=False),
    ),
    (
        "narrow",
        Impairment(delay_ms=50, rate_mbit=0.3, queue_ms=200),
        Impairment(delay_ms=50, rate_mbit=0.3, queue_ms=200),
    ),
):
    add(name, impaired(to_receiver, to_sender))

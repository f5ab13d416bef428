"""The rules of a room, one by one."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from signaling.limits import Limits
from signaling.messages import (
    Answer,
    Created,
    IceServerEntry,
    Joined,
    Offer,
    PeerJoinedEvent,
    PeerLeftEvent,
    RelayedEvent,
    Resumed,
    RoomClosedEvent,
)
from signaling.rooms import (
    NAMEPLATE_REST_S,
    RECEIVER_HISTORY,
    SENDER_HISTORY,
    RefusedError,
    Rooms,
    Update,
)

S = 1_000_000_000
OFFER = Offer(type="offer", sdp="v=0 offer")
ANSWER = Answer(type="answer", sdp="v=0 answer")


def make(**limits: Any) -> Rooms:
    return Rooms(Limits(**limits), rng=random.Random(7))


def told(update: Update) -> list[tuple[str, Any]]:
    return [(delivery.peer, delivery.message) for delivery in update.deliveries]


def reply(update: Update) -> Any:
    return update.deliveries[0].message


def test_who_creates_a_room_gets_its_number_an_identity_and_the_ice_servers() -> None:
    ice = IceServerEntry(["turn:t.example.org"], "user", "pass")
    rooms = Rooms(ice_servers=[ice], rng=random.Random(7))
    created = reply(rooms.create(0))
    assert isinstance(created, Created)
    assert created.ice_servers == [ice]
    joined = reply(rooms.join(created.nameplate, 0))
    assert isinstance(joined, Joined)
    assert joined.ice_servers == [ice]
    assert len({created.peer, joined.peer}) == len({created.token, joined.token}) == 2
    assert (rooms.room_count, rooms.peer_count) == (1, 2)


def test_identities_differ_from_server_to_server() -> None:
    first, second = reply(Rooms().create(0)), reply(Rooms().create(0))
    assert first.peer != second.peer
    assert first.token != second.token


def test_the_sender_learns_of_each_receiver() -> None:
    rooms = make()
    sender = reply(rooms.create(0))
    update = rooms.join(sender.nameplate, 0)
    assert told(update)[1:] == [
        (sender.peer, PeerJoinedEvent(number=1, peer=update.admitted)),
    ]


def test_offers_go_to_the_receiver_and_answers_to_the_sender() -> None:
    rooms = make()
    sender = reply(rooms.create(0))
    receiver = reply(rooms.join(sender.nameplate, 0))
    assert told(rooms.relay(sender.peer, receiver.peer, OFFER, 0)) == [
        (receiver.peer, RelayedEvent(number=1, sender=sender.peer, payload=OFFER))
    ]
    assert told(rooms.relay(receiver.peer, sender.peer, ANSWER, 0)) == [
        (sender.peer, RelayedEvent(number=2, sender=receiver.peer, payload=ANSWER))
    ]


def test_a_receiver_may_say_one_thing_answer_each_offer_once_and_no_more() -> None:
    rooms = make()
    sender = reply(rooms.create(0))
    receiver = reply(rooms.join(sender.nameplate, 0))
    unasked = [told(rooms.relay(receiver.peer, sender.peer, ANSWER, 0)) for _ in range(3)]
    assert [len(said) for said in unasked] == [1, 0, 0]
    for _ in range(2):
        rooms.relay(sender.peer, receiver.peer, OFFER, 0)
    answers = [told(rooms.relay(receiver.peer, sender.peer, ANSWER, 0)) for _ in range(3)]
    assert [len(answer) for answer in answers] == [1, 1, 0]
    # What went nowhere is counted all the same, or a client that comes back would say it again.
    assert told(rooms.resume(receiver.token, 2, 0)) == [(receiver.peer, Resumed(received=6))]


def test_nothing_goes_between_receivers_to_oneself_or_to_another_room() -> None:
    rooms = make()
    sender, stranger = reply(rooms.create(0)), reply(rooms.create(0))
    first = reply(rooms.join(sender.nameplate, 0))
    second = reply(rooms.join(sender.nameplate, 0))
    other = reply(rooms.join(stranger.nameplate, 0))
    for source, target in [
        (first, second),
        (first, first),
        (sender, sender),
        (sender, other),
        (sender, stranger),
        (first, stranger),
    ]:
        assert told(rooms.relay(source.peer, target.peer, OFFER, 0)) == []
    assert told(rooms.relay(sender.peer, "f" * 32, OFFER, 0)) == []
    assert told(rooms.relay("f" * 32, sender.peer, OFFER, 0)) == []


def test_there_is_no_room_by_another_number() -> None:
    rooms = make()
    nameplate = reply(rooms.create(0)).nameplate
    with pytest.raises(RefusedError) as refused:
        rooms.join(str(int(nameplate) % 9 + 1), 0)
    assert refused.value.code == "no-such-room"


def test_a_room_takes_no_more_peers_than_its_limit_until_one_leaves() -> None:
    rooms = make(peers_per_room=2)
    nameplate = reply(rooms.create(0)).nameplate
    receiver = reply(rooms.join(nameplate, 0))
    with pytest.raises(RefusedError) as refused:
        rooms.join(nameplate, 0)
    assert refused.value.code == "room-full"
    rooms.leave(receiver.peer, 0)
    rooms.join(nameplate, 0)


def test_joins_of_a_room_have_a_rate_that_another_room_does_not_feel() -> None:
    rooms = make(join_burst=3, joins_per_s=0.5)
    nameplate, other = (reply(rooms.create(0)).nameplate for _ in range(2))
    for _ in range(3):
        rooms.leave(rooms.join(nameplate, 0).admitted, 0)
    for now_ns in (0, 2 * S - 1):
        with pytest.raises(RefusedError, match="try again in a moment") as refused:
            rooms.join(nameplate, now_ns)
        assert refused.value.code == "too-many-joins"
    rooms.join(other, 0)
    rooms.join(nameplate, 2 * S)


def test_who_finds_the_room_full_does_not_use_its_joins_up() -> None:
    rooms = make(peers_per_room=2, join_burst=2)
    nameplate = reply(rooms.create(0)).nameplate
    receiver = reply(rooms.join(nameplate, 0))
    for _ in range(10):
        with pytest.raises(RefusedError, match="full"):
            rooms.join(nameplate, 0)
    rooms.leave(receiver.peer, 0)
    rooms.join(nameplate, 0)


def test_a_room_has_places_for_every_receiver_that_a_sender_may_have_and_for_strangers() -> None:
    rooms = make()
    nameplate = reply(rooms.create(0)).nameplate
    for second in range(23):
        rooms.join(nameplate, second * S)
    with pytest.raises(RefusedError, match="full"):
        rooms.join(nameplate, 23 * S)


def test_a_receiver_that_does_nothing_loses_its_place() -> None:
    rooms = make(join_idle_s=60)
    sender = reply(rooms.create(0))
    silent = reply(rooms.join(sender.nameplate, 0))
    busy = reply(rooms.join(sender.nameplate, 0))
    rooms.relay(silent.peer, sender.peer, ANSWER, 0)
    rooms.relay(sender.peer, busy.peer, OFFER, 20 * S)
    rooms.relay(silent.peer, sender.peer, ANSWER, 20 * S)  # not asked for: nothing happens
    assert told(rooms.expire(60 * S - 1)) == []
    update = rooms.expire(60 * S)
    assert told(update) == [
        (silent.peer, RoomClosedEvent(number=1, reason="idle")),
        (sender.peer, PeerLeftEvent(number=4, peer=silent.peer)),
    ]
    assert update.happened == (f"room {sender.nameplate}: receiver left, 1 there",)
    with pytest.raises(RefusedError):
        rooms.resume(silent.token, 1, 60 * S)
    rooms.relay(busy.peer, sender.peer, ANSWER, 70 * S)
    assert told(rooms.expire(130 * S - 1)) == []
    assert [peer for peer, _ in told(rooms.expire(130 * S))] == [busy.peer, sender.peer]
    assert (rooms.room_count, rooms.peer_count) == (1, 1)


def test_coming_back_does_not_make_a_silent_receiver_busy() -> None:
    rooms = make(join_idle_s=60)
    sender = reply(rooms.create(0))
    silent = reply(rooms.join(sender.nameplate, 0))
    rooms.lost(silent.peer, 50 * S)
    rooms.resume(silent.token, 0, 59 * S)
    rooms.expire(60 * S)
    assert rooms.peer_count == 1


def test_strangers_cannot_make_a_sender_miss_more_than_is_kept() -> None:
    """A connection that died unnoticed, and then the whole grace period."""
    rooms = make()
    sender = reply(rooms.create(0))
    there = [rooms.join(sender.nameplate, 0).admitted for _ in range(8)]
    for peer in there:
        rooms.relay(sender.peer, peer, OFFER, 0)
    received = 8
    for tenth in range(1, 525):
        if tenth == 225:
            rooms.lost(sender.peer, tenth * S // 10)
        for peer in there:
            rooms.relay(peer, sender.peer, ANSWER, tenth * S // 10)
        with contextlib.suppress(RefusedError):
            stranger = rooms.join(sender.nameplate, tenth * S // 10).admitted
            for _ in range(2):
                rooms.relay(stranger, sender.peer, ANSWER, tenth * S // 10)
            rooms.leave(stranger, tenth * S // 10)
    missed = told(rooms.resume(sender.token, received, 52 * S))[1:]
    assert [type(event) for _, event in missed].count(PeerLeftEvent) >= 50
    assert [type(event) for _, event in missed].count(RelayedEvent) >= 50 + 2 * 8


def test_a_server_opens_no_more_rooms_than_its_limit_until_one_closes() -> None:
    rooms = make(rooms=1)
    sender = reply(rooms.create(0))
    with pytest.raises(RefusedError) as refused:
        rooms.create(0)
    assert refused.value.code == "server-full"
    rooms.leave(sender.peer, 0)
    rooms.create(0)


def test_a_receiver_that_leaves_is_reported_once() -> None:
    rooms = make()
    sender = reply(rooms.create(0))
    receiver = reply(rooms.join(sender.nameplate, 0))
    assert told(rooms.leave(receiver.peer, 0)) == [
        (sender.peer, PeerLeftEvent(number=2, peer=receiver.peer))
    ]
    assert rooms.leave(receiver.peer, 0) == rooms.lost(receiver.peer, 0) == Update()


def test_a_room_closes_with_its_sender_and_the_receivers_learn_of_it() -> None:
    rooms = make()
    sender = reply(rooms.create(0))
    receivers = [reply(rooms.join(sender.nameplate, 0)).peer for _ in range(2)]
    assert told(rooms.leave(sender.peer, 0)) == [
        (peer, RoomClosedEvent(number=1, reason="sender-left")) for peer in receivers
    ]
    assert (rooms.room_count, rooms.peer_count) == (0, 0)


def test_a_dropped_peer_keeps_its_place_through_the_grace_period() -> None:
    rooms = make(resume_grace_s=30)
    sender = reply(rooms.create(0))
    receiver = reply(rooms.join(sender.nameplate, 0))
    rooms.lost(receiver.peer, 5 * S)
    assert told(rooms.expire(35 * S - 1)) == []
    assert told(rooms.expire(35 * S)) == [
        (sender.peer, PeerLeftEvent(number=2, peer=receiver.peer))
    ]


def test_a_connection_lost_twice_does_not_prolong_the_grace_period() -> None:
    rooms = make(resume_grace_s=30)
    sender = reply(rooms.create(0))
    rooms.lost(sender.peer, 0)
    assert rooms.lost(sender.peer, 20 * S) == Update()
    rooms.expire(30 * S)
    assert rooms.room_count == 0


def test_a_room_closes_when_its_sender_stays_away() -> None:
    rooms = make(resume_grace_s=30)
    sender = reply(rooms.create(0))
    receiver = reply(rooms.join(sender.nameplate, 0))
    rooms.lost(sender.peer, 0)
    assert told(rooms.expire(30 * S)) == [
        (receiver.peer, RoomClosedEvent(number=1, reason="sender-left"))
    ]


def test_who_comes_back_in_time_is_told_what_was_missed_and_nothing_twice() -> None:
    rooms = make(resume_grace_s=30)
    sender = reply(rooms.create(0))
    receiver = reply(rooms.join(sender.nameplate, 0))
    assert told(rooms.relay(sender.peer, receiver.peer, OFFER, 0))
    rooms.lost(sender.peer, 0)
    assert told(rooms.relay(receiver.peer, sender.peer, ANSWER, S)) == []
    # The sender got the first event and not the answer; the server has its one offer.
    update = rooms.resume(sender.token, 1, 2 * S)
    assert update.admitted == sender.peer
    assert told(update) == [
        (sender.peer, Resumed(received=1)),
        (sender.peer, RelayedEvent(number=2, sender=receiver.peer, payload=ANSWER)),
    ]
    assert told(rooms.expire(60 * S)) == []


def test_an_event_that_a_dying_socket_swallowed_is_told_again() -> None:
    rooms = make()
    sender = reply(rooms.create(0))
    receiver = reply(rooms.join(sender.nameplate, 0))
    rooms.relay(sender.peer, receiver.peer, OFFER, 0)
    assert len(told(rooms.relay(receiver.peer, sender.peer, ANSWER, 0))) == 1
    again = told(rooms.resume(sender.token, 1, 0))[1:]
    assert again == [(sender.peer, RelayedEvent(number=2, sender=receiver.peer, payload=ANSWER))]


@pytest.mark.parametrize("received", [2, 2**53])
def test_who_claims_to_know_the_future_is_refused(received: int) -> None:
    rooms = make()
    sender = reply(rooms.create(0))
    rooms.join(sender.nameplate, 0)
    with pytest.raises(RefusedError) as refused:
        rooms.resume(sender.token, received, 0)
    assert refused.value.code == "resume-refused"


def test_who_missed_more_than_is_kept_is_refused() -> None:
    rooms = make()
    sender = reply(rooms.create(0))
    receiver = reply(rooms.join(sender.nameplate, 0))
    for _ in range(SENDER_HISTORY):
        rooms.relay(sender.peer, receiver.peer, OFFER, 0)
        rooms.relay(receiver.peer, sender.peer, ANSWER, 0)
    assert len(told(rooms.resume(sender.token, 1, 0))) == 1 + SENDER_HISTORY
    with pytest.raises(RefusedError):
        rooms.resume(sender.token, 0, 0)
    got = SENDER_HISTORY - RECEIVER_HISTORY
    assert len(told(rooms.resume(receiver.token, got, 0))) == 1 + RECEIVER_HISTORY
    with pytest.raises(RefusedError):
        rooms.resume(receiver.token, got - 1, 0)


def test_a_token_opens_nothing_after_leaving_expiry_or_a_restart() -> None:
    rooms = make(resume_grace_s=30)
    sender = reply(rooms.create(0))
    gone = reply(rooms.join(sender.nameplate, 0))
    late = reply(rooms.join(sender.nameplate, 0))
    rooms.leave(gone.peer, 0)
    rooms.lost(late.peer, 0)
    rooms.expire(30 * S)
    for server, token in [(rooms, gone.token), (rooms, late.token), (make(), sender.token)]:
        with pytest.raises(RefusedError) as refused:
            server.resume(token, 0, 0)
        assert refused.value.code == "resume-refused"


def test_an_idle_room_closes_for_everybody_and_activity_keeps_it_open() -> None:
    rooms = make(room_idle_s=100, join_idle_s=1000)
    sender = reply(rooms.create(0))
    receiver = reply(rooms.join(sender.nameplate, 60 * S))
    assert told(rooms.expire(159 * S)) == []
    rooms.relay(sender.peer, receiver.peer, OFFER, 159 * S)
    assert told(rooms.expire(258 * S)) == []
    assert told(rooms.expire(259 * S)) == [
        (sender.peer, RoomClosedEvent(number=2, reason="idle")),
        (receiver.peer, RoomClosedEvent(number=2, reason="idle")),
    ]
    assert rooms.room_count == 0


def test_the_number_of_a_closed_room_rests_before_it_is_given_again() -> None:
    rooms = make()
    closed = set()
    for _ in range(4):  # more than half of the nine numbers would rest
        sender = reply(rooms.create(0))
        closed.add(sender.nameplate)
        rooms.leave(sender.peer, 0)
    early = {reply(rooms.create(0)).nameplate for _ in range(5)}
    assert not early & closed
    rooms.expire(round(NAMEPLATE_REST_S * S))
    assert len(reply(rooms.create(round(NAMEPLATE_REST_S * S))).nameplate) <= 2


def test_numbers_are_short_while_rooms_are_few_and_never_given_twice() -> None:
    rooms = make(rooms=600)
    numbers = [reply(rooms.create(0)).nameplate for _ in range(600)]
    assert len(set(numbers)) == 600
    assert {len(number) for number in numbers[:5]} == {1}
    assert max(len(number) for number in numbers[:50]) == 2
    assert max(len(number) for number in numbers[:400]) == 3


def test_the_log_names_rooms_and_nothing_secret() -> None:
    rooms = make()
    sender = reply(rooms.create(0))
    lines = list(rooms.join(sender.nameplate, 0).happened)
    receiver = reply(rooms.join(sender.nameplate, 0))
    lines += rooms.relay(sender.peer, receiver.peer, OFFER, 0).happened
    lines += rooms.lost(receiver.peer, 0).happened
    lines += rooms.resume(receiver.token, 1, 0).happened
    lines += rooms.leave(sender.peer, 0).happened
    assert len(lines) == 5
    assert all(line.startswith(f"room {sender.nameplate}: ") for line in lines)
    for secret in (sender.peer, sender.token, receiver.peer, receiver.token, "v=0"):
        assert secret not in "\n".join(lines)

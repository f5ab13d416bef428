from __future__ import annotations

import asyncio

import pytest

from shared.errors import LinkFailed
from shared.link.memory import FrameImpairment, memory_pair

MS = 1_000_000


def arrivals(script: FrameImpairment, frames: int) -> list[int]:
    sent = [i.to_bytes(2, "big") for i in range(frames)]
    return [int.from_bytes(data, "big") for frame in sent for data in script(frame)]


def test_without_impairment_everything_arrives_in_order():
    assert arrivals(FrameImpairment(), 50) == list(range(50))


def test_the_same_seed_gives_the_same_fates_and_another_seed_others():
    def fates(seed: int) -> list[int]:
        return arrivals(FrameImpairment(seed=seed, loss=0.2, duplicate=0.2, reorder=0.2), 200)

    assert fates(1) == fates(1)
    assert fates(1) != fates(2)


def test_loss_takes_about_its_share():
    arrived = arrivals(FrameImpairment(seed=3, loss=0.25), 1_000)
    assert 650 < len(arrived) < 850
    assert arrived == sorted(set(arrived))


def test_duplicates_arrive_beside_their_originals():
    arrived = arrivals(FrameImpairment(seed=4, duplicate=0.3), 300)
    assert set(arrived) == set(range(300))
    assert len(arrived) > 330
    assert arrived == sorted(arrived)


def test_reordered_frames_arrive_after_a_later_one_and_once():
    arrived = arrivals(FrameImpairment(seed=5, reorder=0.3), 300)
    assert arrived != sorted(arrived)
    assert len(arrived) == len(set(arrived)) >= 295


async def test_scripts_apply_to_their_own_direction():
    sender, receiver = memory_pair(to_receiver=lambda frame: [frame.upper(), b"forged"])
    async with sender, receiver:
        await sender.connected(5)
        await receiver.connected(5)
        for link in (sender, receiver):
            link.accept_frames()
        await sender.send_frame(b"abc")
        await receiver.send_frame(b"abc")
        async with asyncio.timeout(5):
            assert (await receiver.receive_frame()).data == b"ABC"
            assert (await receiver.receive_frame()).data == b"forged"
            assert (await sender.receive_frame()).data == b"abc"


async def test_lost_frames_do_not_stop_the_stream():
    sender, receiver = memory_pair(to_receiver=FrameImpairment(seed=1, loss=0.5))
    async with sender, receiver:
        await sender.connected(5)
        receiver.accept_frames()
        async with asyncio.timeout(5):
            for i in range(100):
                await sender.writable()
                assert await sender.send_frame(bytes([i])) == i


async def test_each_end_measures_the_offset_of_the_others_clock():
    offset = 5_000_000 * MS
    sender, receiver = memory_pair(clock_offset_ns=offset)
    async with sender, receiver, asyncio.timeout(5):
        seen_by_sender = await sender.calibrated()
        seen_by_receiver = await receiver.calibrated()
    assert abs(seen_by_sender.offset_ns - offset) <= seen_by_sender.bound_ns
    assert abs(seen_by_receiver.offset_ns + offset) <= seen_by_receiver.bound_ns


async def test_fingerprints_agree_crosswise_and_follow_the_seed():
    sender, receiver = memory_pair(seed=1)
    with pytest.raises(LinkFailed):
        _ = sender.fingerprints
    other, other_receiver = memory_pair(seed=2)
    async with sender, receiver, other, other_receiver:
        for link in (sender, receiver, other, other_receiver):
            await link.connected(5)
        assert sender.fingerprints == receiver.fingerprints[::-1]
        assert all(len(fingerprint) == 32 for fingerprint in sender.fingerprints)
        assert not set(sender.fingerprints) & set(other.fingerprints)

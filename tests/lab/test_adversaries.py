from __future__ import annotations

import pytest
import torch

from lab.adversaries import (
    Discriminator,
    Distinguisher,
    Predictor,
    avalanche_loss,
    balance_loss,
    expected_avalanche,
    flip_probability,
    random_bits,
)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def brute_force_avalanche(weight: int, difference: int) -> float:
    total = 0.0
    accumulators = torch.arange(1 << 16)
    for bit in range(8):
        folds = [
            ((a ^ (a >> 7)) >> bit) & 1
            for a in (accumulators, (accumulators + weight * difference) & 0xFFFF)
        ]
        total += (1.0 - 2.0 * float((folds[0] != folds[1]).double().mean())) ** 2
    return total / 8


@pytest.mark.parametrize(
    ("weight", "difference"), [(43, 1), (-64, 128), (0, 5), (17, -200), (1, 1)]
)
def test_expected_avalanche_is_exact_at_integers(weight, difference) -> None:
    w = torch.tensor([[float(weight)]])
    found = expected_avalanche(w, w.remainder(2.0), torch.tensor([difference]))
    assert float(found) == pytest.approx(brute_force_avalanche(weight, difference), abs=1e-6)


def test_expected_avalanche_between_integers_leads_to_the_better_neighbour_of_its_parity() -> None:
    weight = torch.tensor([[42.0]], requires_grad=True)
    loss = expected_avalanche(weight, torch.tensor([[1.0]]), torch.tensor([1]))
    low, high = brute_force_avalanche(41, 1), brute_force_avalanche(43, 1)
    assert float(loss.detach()) == pytest.approx((low + high) / 2, abs=1e-6)
    loss.backward()
    assert weight.grad is not None
    assert float(weight.grad) == pytest.approx((high - low) / 2, abs=1e-6)


def test_flip_probability_and_avalanche_of_known_cases() -> None:
    base = random_bits((1000, 4), rng())
    changed = torch.stack([base, -base])
    assert flip_probability(base, changed).tolist() == [[0.0] * 4, [1.0] * 4]
    assert float(avalanche_loss(base, changed)) == pytest.approx(1.0 - 1e-3)
    fair = random_bits((8, 1000, 64), rng())
    assert abs(float(avalanche_loss(fair[0], fair[1:]))) < 2e-4


def test_balance_is_zero_by_chance_and_sees_bias_and_copies() -> None:
    fair = random_bits((2000, 64), rng())
    assert abs(float(balance_loss(fair))) < 2e-4
    biased = fair.clone()
    biased[:, 0] = 1.0
    assert float(balance_loss(biased)) > 0.01
    copied = fair.clone()
    copied[:, 1] = copied[:, 0]
    assert float(balance_loss(copied)) > 2e-4


def test_a_predictor_finds_a_copy_and_nothing_in_fair_bits() -> None:
    torch.manual_seed(0)
    for copies, low, high in ((True, 0.9, 1.0), (False, -0.1, 0.1)):
        predictor = Predictor(32)
        optimiser = torch.optim.Adam(predictor.parameters(), lr=0.01)
        bits = random_bits((2048, 32), rng())
        if copies:
            bits[:, 16:] = -bits[:, :16]
        for _ in range(80):
            optimiser.zero_grad()
            predictor.loss(bits[:1024]).backward()
            optimiser.step()
        assert low <= predictor.advantage(bits[1024:]) <= high


def test_a_distinguisher_finds_a_bit_that_never_flips_and_nothing_in_fair_bits() -> None:
    torch.manual_seed(0)
    for stuck, low, high in ((4, 0.7, 1.0), (0, -0.15, 0.15)):
        distinguisher = Distinguisher(32)
        optimiser = torch.optim.Adam(distinguisher.parameters(), lr=0.01)
        generator = rng()
        pairs, chance = random_bits((2048, 32), generator), random_bits((2048, 32), generator)
        pairs[:, :stuck] = 1.0
        for _ in range(60):
            optimiser.zero_grad()
            distinguisher.loss(pairs[:1024], chance[:1024]).backward()
            optimiser.step()
        assert low <= distinguisher.advantage(pairs[1024:], chance[1024:]) <= high


def test_a_discriminator_finds_blocks_that_repeat_and_nothing_in_fair_bits() -> None:
    torch.manual_seed(0)
    for repeats, low, high in ((True, 0.0, 0.2), (False, 0.65, 3.0)):  # ln 2 is 0.69
        discriminator = Discriminator(32)
        optimiser = torch.optim.Adam(discriminator.parameters(), lr=0.01)
        generator = rng()
        blocks, chance = random_bits((2048, 32), generator), random_bits((2048, 32), generator)
        if repeats:
            blocks = blocks[:1].repeat(2048, 1) * random_bits((2048, 1), generator)
        for _ in range(40):
            optimiser.zero_grad()
            discriminator.loss(blocks[:1024], chance[:1024]).backward()
            optimiser.step()
        told = float(discriminator.loss(blocks[1024:], chance[1024:]).detach())
        assert low <= told <= high


def test_the_generator_gains_where_the_discriminator_loses() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(32)
    fake = random_bits((64, 32), rng()).requires_grad_()
    (against,) = torch.autograd.grad(discriminator.generator_loss(fake), fake)
    (along,) = torch.autograd.grad(discriminator.loss(fake, fake.detach()), fake)
    assert float((against * along).sum()) < 0.0

"""Trains a keystream network against its adversaries, reproducibly from a seed.

The whole network is at chance level from its first random weights on, so there is nothing to
learn from there; what is trained are its layers alone and a few in a row, which are not.  Weights
move as floats, and every loss is one of the integers that they round to.  The control is the
network of the same seed before the first step.  No claim of security follows from any of it.

A weight keeps its parity.  Left free, nearly all become odd, since an odd weight never loses a
flipped bit; but a matrix of odd numbers has rank one mod 2, and all lanes would share their
lowest bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lab.adversaries import (
    LN2,
    Discriminator,
    Distinguisher,
    Predictor,
    avalanche_loss,
    balance_loss,
    expected_avalanche,
    random_bits,
)
from lab.experiments import KINDS, differences_of, draw_differences, frame_of
from lab.recipe import Recipe
from lab.surrogate import SurrogateLayer, bytes_to_bits, round_weight, window
from shared.keystream.families.training import TrainingObjective
from shared.keystream.layers import WEIGHT_MAX, WEIGHT_MIN

__all__ = ["DEFAULT_STEPS", "Check", "TrainedWeights", "train"]

DEFAULT_STEPS = 400

# The same held-out inputs for every training run on a kind of device, whose generator draws them.
_VALIDATION_SEED = 0x5EED


@dataclass(frozen=True, slots=True)
class Check:
    """The held-out losses after `step` steps, by the number of layers they are taken over.

    `discriminator`, where there is one, is its mean loss since the check before, in nats: ln 2
    where it can't tell those layers' blocks from random bytes.
    """

    step: int
    validation: Mapping[int, float]
    discriminator: Mapping[int, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.validation.values())


@dataclass(frozen=True, slots=True, eq=False)
class TrainedWeights:
    """The tensors after training, those before it, and every check on the way.

    `best` is the check whose weights these are; training ended early if `stopped_early`.  `gpu` is
    the name of the GPU that did it, None where it was the processor.
    """

    family: str
    seed: int
    tensors: dict[str, NDArray[np.signedinteger]] = field(repr=False)
    initial: dict[str, NDArray[np.signedinteger]] = field(repr=False)
    checks: tuple[Check, ...] = field(repr=False)
    best: Check
    stopped_early: bool
    gpu: str | None = None


@contextmanager
def _exact_products() -> Iterator[None]:
    """Keep factors from being rounded, as to TF32 on a GPU: sums below 2**24 must be exact."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@_exact_products()
def train(
    recipe: Recipe,
    *,
    seed: int,
    steps: int = DEFAULT_STEPS,
    device: str = "cpu",
    check_every: int = 25,
    patience: int = 6,
    on_step: Callable[[int, Check], None] = lambda _step, _check: None,
) -> TrainedWeights:
    """Train `recipe` for at most `steps` steps; stop when `patience` checks bring nothing better.

    The same seed gives the same weights on the same machine and version of torch where `device` is
    "cpu".  On "cuda" the random choices are repeated, from the device's own generator, and sums
    may come in another order.
    `on_step(step, last check)` is called after each step.
    """
    initial = recipe.initial(np.random.default_rng(seed))
    training = _Training(recipe, initial, seed, steps, torch.device(device))
    best = check = training.check(0)
    checks, tensors = [check], training.tensors()
    stopped_early = False
    for step in range(1, steps + 1):
        training.step()
        if step % check_every == 0:
            check = training.check(step)
            checks.append(check)
            if check.total < best.total:
                best, tensors = check, training.tensors()
            stopped_early = step - best.step >= patience * check_every
        on_step(step, check)
        if stopped_early:
            break
    return TrainedWeights(
        recipe.family.name,
        seed,
        tensors,
        initial,
        tuple(checks),
        best,
        stopped_early,
        gpu=_gpu_name(training.device),
    )


def _gpu_name(device: torch.device) -> str | None:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


class _Training:
    """One run: the float weights, the adversaries, and their optimisers."""

    def __init__(
        self,
        recipe: Recipe,
        initial: Mapping[str, NDArray[np.signedinteger]],
        seed: int,
        steps: int,
        device: torch.device,
    ) -> None:
        self.recipe, self.objective, self.device = recipe, recipe.family.objective, device
        self.dtypes = {name: tensor.dtype for name, tensor in initial.items()}
        self.params = {
            n: torch.from_numpy(t.astype(np.float32)).to(device) for n, t in initial.items()
        }
        self.parities = {n: t.remainder(2.0) for n, t in self.params.items()}
        self.rng = torch.Generator(device).manual_seed(seed)
        self.weights = {step.weight_name for step in recipe.steps}  # what is trained
        self.trained = [t.requires_grad_() for n, t in self.params.items() if n in self.weights]
        self.optimiser = torch.optim.Adam(self.trained, lr=self.objective.learning_rate)
        self.cooling = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, steps)
        self.against = _Adversaries(self.layers(), self.objective, seed, device)
        self.told: dict[int, list[float]] = {}

    def rounded(self) -> dict[str, torch.Tensor]:
        return {
            name: round_weight(tensor, self.parities[name]) if name in self.weights else tensor
            for name, tensor in self.params.items()
        }

    def layers(self) -> tuple[SurrogateLayer, ...]:
        return self.recipe.lower(self.rounded())

    @torch.no_grad()
    def tensors(self) -> dict[str, NDArray[np.signedinteger]]:
        return {n: t.cpu().numpy().astype(self.dtypes[n]) for n, t in self.rounded().items()}

    def step(self) -> None:
        """Move the weights against the adversaries, then the adversaries against the weights."""
        objective, rng = self.objective, self.rng
        layers = self.layers()
        depth = objective.windows[_draw(len(objective.windows), rng)]
        start = _draw(len(layers) - depth + 1, rng)
        frame = frame_of(window(layers, start, start + depth), objective.frame_blocks, rng)
        chance = random_bits((len(frame) - 1, frame.shape[1]), rng)
        self._descend(self._avalanche(), self.against.push(depth, frame, chance))
        told = self.against.learn(depth, frame.detach(), chance)
        if told is not None:
            self.told.setdefault(depth, []).append(told)

    def _descend(self, avalanche: torch.Tensor, adversarial: torch.Tensor) -> None:
        along = torch.autograd.grad(avalanche, self.trained)
        against = torch.autograd.grad(adversarial, self.trained, allow_unused=True)
        for tensor, main, other in zip(self.trained, along, against, strict=True):
            tensor.grad = main
            if other is not None:  # a layer outside the window has none
                limit = self.objective.adversarial_share * main.norm()
                tensor.grad = main + other * (limit / other.norm().clamp(min=1e-12)).clamp(max=1.0)
        self.optimiser.step()
        self.cooling.step()
        with torch.no_grad():
            for tensor in self.trained:
                tensor.clamp_(WEIGHT_MIN, WEIGHT_MAX)

    def _avalanche(self) -> torch.Tensor:
        """Return the sum over layers: half of the differences are bits, half of them bytes."""
        layers, parities = self.recipe.lower(self.params), self.recipe.lower(self.parities)
        count, rng, device = self.objective.differences, self.rng, self.device
        total = torch.zeros((), device=device)
        for layer, parity in zip(layers, parities, strict=True):
            bits = 1 << torch.randint(0, 8, (count // 2,), generator=rng, device=device)
            bytes_ = torch.randint(1, 256, (count - count // 2,), generator=rng, device=device)
            differences = torch.cat([bits, bytes_])
            total = total + expected_avalanche(layer.weight, parity.weight, differences)
        return total

    @torch.no_grad()
    def check(self, step: int) -> Check:
        """Return the losses on held-out inputs, over every window that is trained."""
        rng = torch.Generator(self.device).manual_seed(_VALIDATION_SEED)
        layers, losses = self.layers(), {}
        for depth in self.objective.windows:
            values = []
            for start in range(len(layers) - depth + 1):
                part = window(layers, start, start + depth)
                # A key's bit reaches a single lane of the layer it enters: no fault of that layer.
                for kind in KINDS if depth > 1 else KINDS[:2]:
                    places = draw_differences(kind, 16, part, rng)
                    base, changed = differences_of(part, places, 128, rng, inner=start > 0)
                    values.append(float(avalanche_loss(base, changed)))
                values.append(float(balance_loss(frame_of(part, 512, rng))))
            losses[depth] = sum(values) / len(values)
        told = {depth: sum(each) / len(each) for depth, each in sorted(self.told.items())}
        self.told.clear()
        return Check(step, losses, told)


class _Adversaries:
    """The small networks that learn along: one of each kind for each shape of what they see."""

    def __init__(
        self,
        layers: Sequence[SurrogateLayer],
        objective: TrainingObjective,
        seed: int,
        device: torch.device,
    ) -> None:
        self.objective, self.device = objective, device
        # Windows that are as many layers deep and end as wide share their adversaries.
        shapes = {
            (depth, len(layers[start + depth - 1].bias) * 8): None
            for depth in objective.windows
            for start in range(len(layers) - depth + 1)
        }
        # Their first weights are drawn on the processor, and so are the same on every device.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(seed)
            self.predictors = {shape: Predictor(shape[1]) for shape in shapes}
            self.distinguishers = {shape: Distinguisher(shape[1]) for shape in shapes}
            self.discriminators = {shape: Discriminator(shape[1]) for shape in shapes}
        self.random = np.random.Generator(np.random.Philox(seed))
        networks: list[nn.Module] = [
            *self.predictors.values(),
            *self.distinguishers.values(),
            *self.discriminators.values(),
        ]
        parameters = [p for network in networks for p in network.to(device).parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=1e-3)

    def push(self, depth: int, frame: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
        """Return the loss of the layers that gave `frame` (blocks, bits), to descend on."""
        objective, shape = self.objective, (depth, frame.shape[1])
        pairs = frame[1:] * frame[:-1]
        total = torch.zeros((), device=self.device)
        if objective.balance:
            total = total + objective.balance * balance_loss(frame)
        if objective.predictor:
            missed = self.predictors[shape].loss(frame)
            total = total + objective.predictor * (LN2 - missed).clamp(min=0.0)
        if objective.distinguisher:
            missed = self.distinguishers[shape].loss(pairs, chance)
            total = total + objective.distinguisher * (LN2 - missed).clamp(min=0.0)
        if objective.discriminator:
            fooled = self.discriminators[shape].generator_loss(frame)
            total = total + objective.discriminator * fooled
        return total

    def learn(self, depth: int, frame: torch.Tensor, chance: torch.Tensor) -> float | None:
        """Let those in use learn from `frame`; return the discriminator's loss before."""
        objective, shape = self.objective, (depth, frame.shape[1])
        self.optimiser.zero_grad()
        total, told = torch.zeros((), device=self.device), None
        if objective.predictor:
            total = total + self.predictors[shape].loss(frame)
        if objective.distinguisher:
            total = total + self.distinguishers[shape].loss(frame[1:] * frame[:-1], chance)
        if objective.discriminator:
            drawn = np.frombuffer(self.random.bytes(frame.numel() // 8), dtype=np.uint8)
            values = torch.from_numpy(drawn.astype(np.float32)).to(self.device)
            random = bytes_to_bits(values).view(frame.shape)
            loss = self.discriminators[shape].loss(frame, random)
            total, told = total + loss, float(loss.detach())
        total.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return told


def _draw(below: int, rng: torch.Generator) -> int:
    return int(torch.randint(0, below, (1,), generator=rng, device=rng.device))

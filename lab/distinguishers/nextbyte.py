"""Next-byte predictors: networks that guess each byte of a frame from bytes that came before it.

One is recurrent, one convolutional.  Before each byte they are shown the byte just before it, the
two at the same place one and two blocks earlier, and the place itself, so that nothing must be
carried over a whole block: what is left to their memory is the row of bytes up to here.  A
generator of which no next bit can be predicted passes every test that takes polynomial time (Yao
1982); that these two fail shows only that these two fail.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from lab.distinguishers.advantage import Advantage, bits_of
from lab.distinguishers.oracle import Oracle

__all__ = ["PREDICTORS", "Convolution", "Recurrent", "predict"]

_STEPS = 200  # of training, each on fresh frames
_FRAMES = 2  # a step, each under a key of its own
_SEQUENCES = 64  # a step
_LENGTH = 64  # bytes in a row that a predictor reads and guesses
_BLOCKS = 34  # of a frame; the first two are only looked back on
_TEST_KEYS = 64
_LEARNING_RATE = 3e-3
_PLACE = 16  # numbers that stand for a lane's place in its block
_SHOWN = 3 * 8 + _PLACE  # numbers shown before each byte
_WIDTH = 64


class Recurrent(nn.Module):
    """A gated recurrent unit (Cho et al. 2014): shown (n, length, 40), logits (n, length, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(_SHOWN, 2 * _WIDTH), nn.ReLU())
        self.remember = nn.GRU(2 * _WIDTH, _WIDTH, batch_first=True)
        self.leave = nn.Linear(_WIDTH, 8)

    def forward(self, shown: torch.Tensor) -> torch.Tensor:
        states, _ = self.remember(self.enter(shown))
        logits: torch.Tensor = self.leave(states)
        return logits


class Convolution(nn.Module):
    """Causal residual convolutions (Bai et al. 2018) that see 31 bytes: as `Recurrent`."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            nn.Conv1d(_SHOWN, 2 * _WIDTH, 1), nn.ReLU(), nn.Conv1d(2 * _WIDTH, _WIDTH, 1)
        )
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                # Zeros before the first byte and none after the last: nothing looks ahead.
                nn.ConstantPad1d((2 * dilation, 0), 0.0),
                nn.Conv1d(_WIDTH, _WIDTH, 3, dilation=dilation),
            )
            for dilation in (1, 2, 4, 8)
        )
        self.leave = nn.Sequential(nn.ReLU(), nn.Conv1d(_WIDTH, 8, 1))

    def forward(self, shown: torch.Tensor) -> torch.Tensor:
        values = self.enter(shown.transpose(1, 2))
        for layer in self.layers:
            values = values + layer(values)
        logits: torch.Tensor = self.leave(values)
        return logits.transpose(1, 2)


PREDICTORS: dict[str, Callable[[], nn.Module]] = {"GRU": Recurrent, "convolution": Convolution}


class _Reader(nn.Module):
    """Cuts frames into sequences, shows them to a predictor, and has what it should say."""

    def __init__(self, predictor: nn.Module, lanes: int) -> None:
        super().__init__()
        self.predictor, self.lanes = predictor, lanes
        self.places = nn.Embedding(lanes, _PLACE)

    def forward(self, frames: NDArray[np.uint8], chosen: NDArray[np.int64] | slice) -> torch.Tensor:
        """Return the logits of each bit's true value in the `chosen` sequences.

        `frames` (count, blocks, lanes) give (sequences, length, 8), above zero where it guesses
        right.
        """
        lanes, stream = self.lanes, frames.reshape(len(frames), -1)
        said, *seen = (
            torch.from_numpy(bits_of(part.reshape(-1, _LENGTH)[chosen, :, None]))
            for part in (
                stream[:, 2 * lanes :],
                stream[:, 2 * lanes - 1 : -1],
                stream[:, lanes:-lanes],
                stream[:, : -2 * lanes],
            )
        )
        places = np.arange(stream[:, 2 * lanes :].size).reshape(-1, _LENGTH)[chosen] % lanes
        shown = self.places(torch.from_numpy(places))
        logits: torch.Tensor = self.predictor(torch.cat([*seen, shown], dim=2))
        return said * logits


def predict(
    predictor: str, oracle: Oracle, *, seed: int, steps: int = _STEPS, test_keys: int = _TEST_KEYS
) -> Advantage:
    """Train `predictor` of `PREDICTORS` on `oracle`; return 2 P[a bit is guessed] - 1.

    Every choice is from `seed`; the standard error is over `test_keys` keys.
    """
    rng = np.random.default_rng([seed, 1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = _Reader(PREDICTORS[predictor](), oracle.lanes_out)
    optimiser = torch.optim.Adam(reader.parameters(), lr=_LEARNING_RATE)
    cooling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        frames = oracle.frames(_FRAMES, _BLOCKS, rng)
        sequences = frames[:, 2:].size // _LENGTH
        chosen = rng.permutation(sequences)[:_SEQUENCES]
        optimiser.zero_grad()
        loss = functional.softplus(-reader(frames, chosen)).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        cooling.step()
    trials = []
    with torch.no_grad():
        for _ in range(test_keys):
            right = reader(oracle.frames(1, _BLOCKS, rng), slice(None))
            trials.append(float(right.sign().mean()))
    return Advantage.over(np.array(trials))

"""How the laboratory is to train a family.  No program that makes keystream reads it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TrainingObjective"]


@dataclass(frozen=True, slots=True)
class TrainingObjective:
    """Weights of the parts of the loss, and how the optimiser goes about it."""

    balance: float = 1.0
    predictor: float = 1.0
    distinguisher: float = 1.0
    discriminator: float = 0.0  # that of a generative adversarial network; 0 is without one
    # Gradients through a sampled frame's square waves are noisy, and now and then a thousand
    # times the avalanche's: a tensor's are cut to this share of the avalanche's norm.
    adversarial_share: float = 0.3
    learning_rate: float = 1.0  # in units of a weight; neighbours of one parity lie 2 apart
    differences: int = 6  # of a lane's byte, per layer and step
    frame_blocks: int = 256  # consecutive blocks of one frame per step
    windows: tuple[int, ...] = (1, 2)  # numbers of layers in a row that adversaries see

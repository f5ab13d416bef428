"""Family `gan`: a generator that widens and narrows, trained against a discriminator.

Layers, each with the tensors `.weight` int8 (out, in) and `.bias` int32 (out,): `widen`,
128 lanes to W; `narrow`, W lanes to 128; then `finish1` to `finishN` of 128 x 128, N from 1 to 4.
W is from 192 to 512, a multiple of 8; a shape is W and N.  The last layer adds the block's input.

The discriminator sees neighbouring blocks of the generator's, and as many bytes of NumPy's Philox.
It leads: its gradient may be as large as the avalanche's, of which the other families let the
adversaries have a third.
"""

from __future__ import annotations

from shared.errors import BadInput
from shared.keystream.families.family import Family, Shape, Step
from shared.keystream.families.training import TrainingObjective

__all__ = ["FAMILY"]

_MIN_FINISHING, _MAX_FINISHING = 1, 4
_MIN_WIDE, _MAX_WIDE = 192, 512


def _steps(shape: Shape) -> tuple[Step, ...]:
    wide, finishing = shape
    if not _MIN_FINISHING <= finishing <= _MAX_FINISHING:
        raise BadInput(
            f"a gan network has the layers widen, narrow and {_MIN_FINISHING} to {_MAX_FINISHING} "
            "that finish"
        )
    if not _MIN_WIDE <= wide <= _MAX_WIDE:
        raise BadInput(f"a gan network widens to between {_MIN_WIDE} and {_MAX_WIDE} lanes")
    return (
        Step("widen", lanes_out=wide),
        Step("narrow", lanes_in=wide),
        *(
            Step(f"finish{i}", add_from=0 if i == finishing else None)
            for i in range(1, finishing + 1)
        ),
    )


FAMILY = Family(
    name="gan",
    shape_of=lambda lengths: (lengths["widen"], len(lengths) - 2),
    steps=_steps,
    shapes={"192 wide": (192, 1), "256 wide": (256, 1)},
    shipped="256 wide",
    design=(
        "A generator that widens from 128 lanes to 256, narrows to 128, and finishes with one "
        "layer of 128. It is trained against a discriminator that sees the bits of neighbouring "
        "blocks and their differences, or as many of NumPy's Philox generator. After two layers a "
        "key's bit is still seen, after three it is not."
    ),
    objective=TrainingObjective(
        balance=0.0, predictor=0.0, distinguisher=0.0, discriminator=1.0, adversarial_share=1.0
    ),
)

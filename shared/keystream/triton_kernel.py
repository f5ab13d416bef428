"""One kernel that makes a frame's keystream and XORs it on, in one pass over device memory.

Each program keeps the weights in shared memory and takes tiles of blocks in turn: the block
counters become the first layer's input in registers, every layer is one int8 product, and only
the frame's own bytes are read and written.  Needs the package `triton`; `triton_backend` lays
out the numbers that the kernel reads.
"""

# mypy: ignore-errors
# Triton's language has Python's syntax, not its types.

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["xor_keystream"]


@triton.jit(do_not_specialize=["first_row", "rows"])
def xor_keystream(
    data,  # uint8: the frame
    frame,  # int32: block counter (low, high half), material, the first layer's bias in this frame
    weights,  # int8: of every layer, (lanes out, lanes in), padded
    biases,  # int32: of every layer after the first, padded
    first_row,  # of the frame, in blocks
    rows,  # how many blocks from there on
    nbytes,  # of the frame; what lies beyond is not touched
    layers: tl.constexpr,  # of each: lanes in, lanes out (padded), activation to add or -1,
    # and where its weights and its biases start
    lanes: tl.constexpr,  # bytes of a block
    padded: tl.constexpr,  # the same, padded
    fold_shift: tl.constexpr,  # of the fold
    tile_rows: tl.constexpr,  # blocks of a tile
):
    column = tl.arange(0, padded)
    lane = tl.arange(0, 32)  # int8 products want 32 inputs; the weights beyond the eighth are zero
    shift = ((3 - (lane & 3)) * 8).to(tl.uint32)
    first_low = tl.load(frame).to(tl.uint32, bitcast=True)
    first_high = tl.load(frame + 1).to(tl.uint32, bitcast=True)
    # One-hot rows that bring the eight counter lanes to their columns of the block's input.
    place = (lane[:, None] < 8) & (lane[:, None] + (lanes - 8) == column[None, :])
    matrices = ()
    for i in tl.static_range(len(layers)):
        k = tl.arange(0, layers[i][0])
        n = tl.arange(0, layers[i][1])
        entry = layers[i][3] + n[None, :] * layers[i][0] + k[:, None]
        matrices = matrices + (tl.load(weights + entry),)  # noqa: RUF005 (Triton has no unpacking)

    for tile in range(tl.program_id(0), (rows + tile_rows - 1) // tile_rows, tl.num_programs(0)):
        row = first_row + tile * tile_rows + tl.arange(0, tile_rows)
        low = first_low + row.to(tl.uint32)
        high = first_high + (low < first_low).to(tl.uint32)
        word = tl.where(lane[None, :] < 4, high[:, None], low[:, None])
        held = ((word >> shift[None, :]) ^ 128).to(tl.int8)
        # Biases and material are read anew for each tile: they would take up too many registers.
        material = tl.load(frame + 2 + column)
        spread = tl.broadcast_to(material[None, :], (tile_rows, padded))
        activations = (tl.dot(held, place.to(tl.int8), spread).to(tl.int8),)
        for i in tl.static_range(len(layers)):
            n = tl.arange(0, layers[i][1])
            bias_at = frame + 2 + padded if i == 0 else biases + layers[i][4]
            bias = tl.load(bias_at + n)
            spread = tl.broadcast_to(bias[None, :], (tile_rows, layers[i][1]))
            total = tl.dot(held, matrices[i], spread)
            held = (total ^ (total >> fold_shift)).to(tl.int8)  # keeps the low byte
            if layers[i][2] >= 0:
                held = held + activations[layers[i][2]]
            activations = activations + (held,)  # noqa: RUF005
        at = row.to(tl.int64)[:, None] * lanes + column[None, :]
        inside = (column[None, :] < lanes) & (at < nbytes)
        keystream = held.to(tl.uint8, bitcast=True)
        tl.store(data + at, tl.load(data + at, mask=inside, other=0) ^ keystream, mask=inside)

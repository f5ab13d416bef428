"""One kernel that makes a frame's keystream and XORs it on, in one pass over device memory.

Each program keeps all weights in shared memory and takes tiles of blocks in turn.  Whatever is
added to a sum is one more int8 product: a block's counter, and constants that carry biases and
material, are a first operand of 32 lanes that every layer reads.  Between the products activations
stay in the registers where they are: `triton_backend` has put the weights in the order in which
tensor cores hand sums out and take operands in, and the output in that of 16-byte accesses.
"""

# mypy: ignore-errors
# Triton's language has Python's syntax, not its types.

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["xor_keystream"]


@triton.jit(do_not_specialize=["tiles", "first_low", "first_high"])
def xor_keystream(
    data,  # uint8: the frame
    frame,  # int8, of this frame: the block's input, then the first layer, each (lanes out, 32)
    biases,  # int8: of every layer after the first, (lanes out, 32)
    weights,  # int8: of every layer after the first, (lanes out, lanes in)
    tiles,  # of the frame
    first_low,  # the low half of the first block's number
    first_high,  # and the high half
    nbytes,  # of the frame; what lies beyond is not touched
    layers: tl.constexpr,  # of each: lanes in, lanes out (padded), activation to add or -1,
    # and where its biases and its weights start
    lanes: tl.constexpr,  # bytes of a block
    padded: tl.constexpr,  # the same, padded
    fold_shift: tl.constexpr,  # of the fold
    tile_rows: tl.constexpr,  # blocks of a tile: 16 a warp, and at most 128
):
    k = tl.arange(0, 32)  # int8 products want 32 inputs, of which 10 are used
    shift = ((3 - (k & 3)) * 8).to(tl.uint32)
    start_low = first_low.to(tl.uint32, bitcast=True)
    start_high = first_high.to(tl.uint32, bitcast=True)
    block_input = tl.load(frame + tl.arange(0, padded)[None, :] * 32 + k[:, None])
    addends = ()
    matrices = ()
    for i in tl.static_range(len(layers)):
        n = tl.arange(0, layers[i][1])
        addends_at = frame + padded * 32 if i == 0 else biases + layers[i][3]
        addends = addends + (tl.load(addends_at + n[None, :] * 32 + k[:, None]),)  # noqa: RUF005
        inner = tl.arange(0, layers[i][0])  # (Triton has no unpacking)
        entry = 0 if i == 0 else layers[i][4] + n[None, :] * layers[i][0] + inner[:, None]
        matrices = matrices + (0 if i == 0 else tl.load(weights + entry),)  # noqa: RUF005

    # A thread gets the sums of rows r and r + 8 of every 16, and stores rows half a tile apart.
    r = tl.arange(0, tile_rows)
    order = r // 16 * 8 + r % 8 + r // 8 % 2 * (tile_rows // 2)
    # Through a product, so that they lie in registers as sums do.
    picked = tl.where(k[None, :] == 0, order[:, None], 0).to(tl.int8)
    numbers = tl.dot(picked, tl.full((32, 32), 1, tl.int8))
    part: tl.constexpr = min(64, padded)  # four threads store so many bytes of a row
    parts: tl.constexpr = padded // part
    column = tl.arange(0, parts)[:, None, None] * part + tl.arange(0, part)[None, None, :]

    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        row = tile * tile_rows + r
        at = row.to(tl.int64)[None, :, None] * lanes + column
        inside = (column < lanes) & (at < nbytes)
        given = tl.load(data + at, mask=inside, other=0)  # asked for ahead of the products

        low = start_low + (tile * tile_rows | numbers).to(tl.uint32)
        high = start_high + (low < start_low).to(tl.uint32)
        byte = (tl.where(k[None, :] < 4, high, low) >> shift[None, :]) ^ 128
        constant = tl.where(k[None, :] == 8, 1, 128)
        counter = tl.where(k[None, :] < 8, byte, constant).to(tl.int8)
        counter = counter.reshape(tile_rows, 2, 2, 4, 2).permute(0, 1, 3, 2, 4)
        counter = counter.reshape(tile_rows, 32)
        held = counter
        activations = (counter,)
        for i in tl.static_range(len(layers)):
            if i == 0:
                total = tl.dot(counter, addends[i])
            else:
                total = tl.dot(counter, addends[i], tl.dot(held, matrices[i]))
            total = total ^ (total >> fold_shift)  # of which the low byte counts
            if layers[i][2] == 0:
                total = tl.dot(counter, block_input, total)
            elif layers[i][2] > 0:
                total = total + activations[layers[i][2]]
            held = total.to(tl.int8)
            activations = activations + (held,)  # noqa: RUF005
            # Of 16 sums a thread has two pairs, and of 16 operands the same four in a row.
            held = held.reshape(tile_rows, layers[i][1] // 16, 2, 4, 2).permute(0, 1, 3, 2, 4)
            held = held.reshape(tile_rows, layers[i][1])
        total = total.reshape(tile_rows // 16, 2, 8, parts, part // 8, 4, 2)
        keystream = total.permute(3, 1, 0, 2, 5, 4, 6).reshape(parts, tile_rows, part)
        tl.store(data + at, given ^ keystream.to(tl.uint8), mask=inside)

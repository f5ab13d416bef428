"""What a layer does besides its matrix product, in one pass each, compiled for this processor.

Loops over integers in LLVM's language, which llvmlite vectorises and compiles in some 20 ms.
Everything is mod 2**16, or 2**8 where it is bytes: of a sum the low 15 bits alone reach the fold.
(Numba makes the same code of plain Python, but takes a second and 120 MiB more at every start.)
"""

from __future__ import annotations

import ctypes
import functools

import llvmlite.binding as llvm
import torch

from shared.keystream.layers import FOLD_SHIFT

__all__ = ["LLVM_MODULE", "TURN", "CpuKernels", "compiled_kernels"]

TURN = 256  # blocks that share all bytes of their counter but the last

# Every kernel goes over `blocks` rows of `lanes` places; `in_row` finds the rows that it reads,
# `in_lane` gives %byte for a place, and `after_row` is free.
_LOOPS = """
define void @{name}(ptr noalias %a, ptr noalias %b, ptr noalias %out,
                    i64 %first, i64 %blocks, i64 %lanes) {{
entry:
  br label %row
row:
  %block = phi i64 [0, %entry], [%next.block, %row.end]
  %start = mul nuw nsw i64 %block, %lanes
  {in_row}
  br label %column
column:
  %lane = phi i64 [0, %row], [%next.lane, %column]
  %place = add nuw nsw i64 %start, %lane
  %to = getelementptr inbounds i8, ptr %out, i64 %place
  {in_lane}
  store i8 %byte, ptr %to
  %next.lane = add nuw nsw i64 %lane, 1
  %more.lanes = icmp ult i64 %next.lane, %lanes
  br i1 %more.lanes, label %column, label %row.end
row.end:
  {after_row}
  %next.block = add nuw nsw i64 %block, 1
  %more.blocks = icmp ult i64 %next.block, %blocks
  br i1 %more.blocks, label %row, label %done
done:
  ret void
}}
"""

_TURN_AND_LAST = f"""
  %number = add nuw nsw i64 %first, %block
  %turn = lshr i64 %number, {TURN.bit_length() - 1}
  %last = and i64 %number, {TURN - 1}
  %of.turn = mul nuw nsw i64 %turn, %lanes
  %of.last = mul nuw nsw i64 %last, %lanes"""

_FOLD = f"""
  %high = lshr i16 %sum, {FOLD_SHIFT}
  %folded = xor i16 %sum, %high
  %byte = trunc i16 %folded to i8"""

LLVM_MODULE = "".join(
    [
        _LOOPS.format(
            name="fold",  # a: products, int32; b: biases, int16
            in_row="",
            in_lane=f"""
  %product.at = getelementptr inbounds i32, ptr %a, i64 %place
  %product = load i32, ptr %product.at
  %low = trunc i32 %product to i16
  %bias.at = getelementptr inbounds i16, ptr %b, i64 %lane
  %bias = load i16, ptr %bias.at
  %sum = add i16 %low, %bias
  {_FOLD}""",
            after_row="",
        ),
        _LOOPS.format(
            name="fold_first",  # a: sums of the turns' first blocks, b: table, both int16
            in_row=_TURN_AND_LAST,
            in_lane=f"""
  %sum.place = add nuw nsw i64 %of.turn, %lane
  %table.place = add nuw nsw i64 %of.last, %lane
  %sum.at = getelementptr inbounds i16, ptr %a, i64 %sum.place
  %table.at = getelementptr inbounds i16, ptr %b, i64 %table.place
  %of.first.block = load i16, ptr %sum.at
  %added = load i16, ptr %table.at
  %sum = add i16 %of.first.block, %added
  {_FOLD}""",
            after_row="",
        ),
        _LOOPS.format(
            name="add_input",  # a: inputs of the turns' first blocks, int8
            in_row=_TURN_AND_LAST,
            in_lane="""
  %head.place = add nuw nsw i64 %of.turn, %lane
  %head.at = getelementptr inbounds i8, ptr %a, i64 %head.place
  %head = load i8, ptr %head.at
  %present = load i8, ptr %to
  %byte = add i8 %present, %head""",
            after_row="""
  %next.start = add nuw nsw i64 %start, %lanes
  %counter.place = sub nuw nsw i64 %next.start, 1
  %counter.at = getelementptr inbounds i8, ptr %out, i64 %counter.place
  %counter = load i8, ptr %counter.at
  %count = trunc i64 %last to i8
  %counted = add i8 %counter, %count
  store i8 %counted, ptr %counter.at""",
        ),
    ]
)


class CpuKernels:
    """The compiled passes, over contiguous tensors.  Any thread may call them; they hold no lock.

    `first` numbers the first of the consecutive blocks, counted from the beginning of the turn
    that row 0 of `sums` or `heads` belongs to.
    """

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
        )
        module = llvm.parse_assembly(LLVM_MODULE)
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = True
        passes = llvm.create_pass_builder(machine, options)
        passes.getModulePassManager().run(module, passes)
        self._engine = llvm.create_mcjit_compiler(module, machine)  # owns the machine code
        self._engine.finalize_object()
        signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 3)
        self._fold, self._fold_first, self._add_input = (
            signature(self._engine.get_function_address(name))
            for name in ("fold", "fold_first", "add_input")
        )

    def fold(self, products: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        """Write the fold of int32 `products` (blocks, lanes) plus int16 `bias` (lanes,) to int8
        `out` (blocks, lanes)."""
        blocks, lanes = out.shape
        self._fold(products.data_ptr(), bias.data_ptr(), out.data_ptr(), 0, blocks, lanes)

    def fold_first(
        self, sums: torch.Tensor, table: torch.Tensor, first: int, out: torch.Tensor
    ) -> None:
        """Write what the first layer makes of blocks to int8 `out` (blocks, lanes).

        Int16 `sums` (turns, lanes) are those of each turn's first block, bias included; `table`
        (256, lanes) is what the counter's last byte adds.
        """
        blocks, lanes = out.shape
        self._fold_first(sums.data_ptr(), table.data_ptr(), out.data_ptr(), first, blocks, lanes)

    def add_input(self, heads: torch.Tensor, first: int, out: torch.Tensor) -> None:
        """Add the blocks' input to int8 `out` (blocks, lanes); int8 `heads` (turns, lanes) are the
        inputs of each turn's first block."""
        blocks, lanes = out.shape
        self._add_input(heads.data_ptr(), None, out.data_ptr(), first, blocks, lanes)


@functools.cache
def compiled_kernels() -> CpuKernels:
    """Return the kernels, compiled at the first call."""
    return CpuKernels()

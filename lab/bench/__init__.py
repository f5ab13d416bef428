"""Benchmarks: `veilscope bench`, each figure beside a rival measured in the same run.

Machines are shared and noisy, so rounds take turns and medians are printed; the ratios are what to
quote.  Nothing here is ever asserted by a test.

The command line is `lab.bench.cli`.  Nothing is imported here: the rivals' programs live below, and
must not carry the weight of what other benchmarks need.
"""

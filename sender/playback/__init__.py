"""Playing a source: pictures that block become frames that arrive at their moment.

`play` is the shell; `capture` reads in a thread of its own, `moments` says when each picture is
due, `standstill` when a live source has stopped.
"""

"""The command `veilscope bench`: every benchmark under one name."""

from __future__ import annotations

import typer

from lab.bench import (
    codecs,
    keystream,
    seal,
    sources,
    stream,
    stream_fairness,
    text,
    textdelay,
    trace,
)

__all__ = ["bench_app"]

bench_app = typer.Typer(
    help="Measure this machine; without a name, all but fairness, text, textdelay, trace.",
    invoke_without_command=True,
    add_completion=False,
)
bench_app.command("keystream")(keystream.main)
bench_app.command("seal")(seal.main)
bench_app.command("codecs")(codecs.main)
bench_app.command("sources")(sources.main)
bench_app.command("stream")(stream.main)
bench_app.command("fairness")(stream_fairness.main)
bench_app.command("text")(text.text_command)
bench_app.command("textdelay")(textdelay.main)
bench_app.command("trace")(trace.main)


@bench_app.callback()
def everything(context: typer.Context) -> None:
    """Measure this machine; without a name, all but fairness, text, textdelay, trace."""
    if context.invoked_subcommand is None:
        keystream.main()
        seal.main()
        codecs.main()
        sources.main()
        stream.main()

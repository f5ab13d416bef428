"""How the programs speak to a terminal and how they end.

One place maps errors to one clear line on stderr and an exit status, and turns Ctrl-C and SIGTERM
into a cancellation that lets a session end well.  It stays light (typer and rich, no numpy) so
that the rendezvous server can use it, and it never prints local variables: they may hold keys.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from shared.errors import BadInput, VeilscopeError
from shared.standardstreams import forgive, forgiving, hurry, reopen

__all__ = [
    "DebugOption",
    "EndOfInput",
    "ask",
    "can_ask_again",
    "hush_libraries",
    "run_async",
    "run_command",
    "stderr",
    "stdout",
    "tell_error",
    "warn",
]

T = TypeVar("T")

# rich writes control codes only where the stream is a terminal: pipes and files get plain text.
stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)

INTERRUPTED = 128 + signal.SIGINT  # what shells report for a program that Ctrl-C ended

_debug = threading.Event()


def _remember_debug(value: bool) -> bool:
    if value:
        _debug.set()
        logging.getLogger().setLevel(logging.INFO)
    return value


DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug",
        envvar="VEILSCOPE_DEBUG",
        help="Show the traceback of an error and more of what goes on.",
        callback=_remember_debug,
        is_eager=True,
    ),
]
"""The `--debug` option of every command: declare it as `debug: DebugOption = False`."""


def warn(message: str | VeilscopeError) -> None:
    """Print `message` as one `warning: …` line on stderr."""
    _print_line("warning", "yellow", str(message))


def tell_error(error: VeilscopeError) -> None:
    """Print `error` and its hint as at the end of a program, which goes on."""
    _print_error(str(error), error.hint)


def hush_libraries() -> None:
    """Keep what libraries in C write about damaged pictures off the terminal; with --debug, don't.

    What Python writes to stderr goes on.  It is for the whole process and for good, since the file
    descriptor belongs to all threads.  Does nothing where stderr is not the process's own.
    """
    before = sys.stderr
    if _debug.is_set() or before is not sys.__stderr__ or before is None or before.fileno() != 2:
        return
    own = forgiving(os.dup(2), like=before)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    sys.stderr = own
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(own)
    faulthandler.enable(own)  # a crash still says where


def run_command(command: typer.Typer | Callable[..., Any]) -> NoReturn:
    """Run a typer app, or one function as a typer command, and end the process.

    Exit status: that of a `VeilscopeError`; 2 for wrong usage; 130 after Ctrl-C; 1 for anything
    unexpected; an int that the command returns; else 0.
    """
    _debug.clear()
    reopen()
    forgive()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.addLevelName(level, logging.getLevelName(level).lower())
    if isinstance(command, typer.Typer):
        app = command
    else:
        app = typer.Typer(add_completion=False)
        app.command()(command)
    sys.exit(_status_of(app))


def _status_of(app: typer.Typer) -> int:
    try:
        status = typer.main.get_command(app).main(standalone_mode=False)
    except KeyboardInterrupt:
        return INTERRUPTED
    except typer.Abort:  # Ctrl-C or end of input at a prompt
        return INTERRUPTED
    except Exception as raised:
        error = _first_of(raised)
        if isinstance(error, VeilscopeError):
            _print_traceback(raised)
            _print_error(str(error), error.hint)
            return error.exit_status
        if hasattr(error, "format_message"):  # a usage error, whichever click typer comes with
            return _print_usage_error(error)
        _print_traceback(raised)
        # Its text may quote what it was about, a value of a file for instance.
        more = "" if _debug.is_set() else "; run with --debug for the traceback"
        _print_line("unexpected error", "bold red", type(error).__name__ + more)
        return 1
    return status if isinstance(status, int) else 0


def _first_of(error: Exception) -> Exception:
    """The error that tells the person most: out of a task group, one raised on purpose."""
    while isinstance(error, ExceptionGroup):
        meant = error.subgroup(VeilscopeError)
        error = (meant or error).exceptions[0]
    return error


def _print_usage_error(error: Any) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # no arguments at all: the help page, not a complaint
    else:
        hint = f"see {context.command_path} --help" if context is not None else ""
        _print_error(error.format_message(), hint)
    return int(error.exit_code)


def _print_error(message: str, hint: str) -> None:
    _print_line("error", "bold red", message)
    if hint:
        stderr.print(Text(f"  → {_plain(hint)}"), soft_wrap=True)


def _print_line(kind: str, style: str, message: str) -> None:
    stderr.print(Text.assemble((f"{kind}:", style), " ", _plain(message)), soft_wrap=True)


def _plain(message: str) -> str:
    """`message` on one line, without characters that steer a terminal."""
    line = " ".join(message.split())
    return "".join(c if c.isprintable() else "?" for c in line)


def _print_traceback(error: BaseException) -> None:
    if _debug.is_set():
        traceback.print_exception(error)  # the plain one: it shows no local variables


def run_async(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main()` on a new event loop (uvloop's where there is one) and return its result.

    The first SIGINT or SIGTERM cancels `main`, which may take its time to end well; the process
    then exits with 130 or 143.  A second one ends the process at once, whatever it is doing.

    Raises:
        SystemExit: after a signal, once `main` has ended.
        Exception: whatever `main` raises, also while it ends after a signal.
    """
    received: list[int] = []
    hurry()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            result = runner.run(_with_signals(main, received))
        except asyncio.CancelledError:
            if not received:
                raise
    if received:
        raise SystemExit(128 + received[0])
    return result


async def _with_signals(main: Callable[[], Coroutine[Any, Any, T]], received: list[int]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main())
    signals = (signal.SIGINT, signal.SIGTERM)

    def on_signal(number: int) -> None:
        received.append(number)
        for each in signals:  # from here on the operating system ends the process
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        if stdout.is_terminal:
            stdout.show_cursor(True)  # in case a second signal leaves no time for it
        task.cancel()

    handled = threading.current_thread() is threading.main_thread()
    try:
        for each in signals if handled else ():
            loop.add_signal_handler(each, on_signal, each)
    except NotImplementedError:  # Windows: Ctrl-C arrives as KeyboardInterrupt instead
        handled = False
    try:
        return await task
    finally:
        for each in signals if handled and not received else ():
            loop.remove_signal_handler(each)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


class EndOfInput(BadInput):
    """Nobody is going to type an answer: the input has ended, or the person pressed Ctrl-D."""


def can_ask_again() -> bool:
    """Whether a person sits at standard input, who may type something else than before."""
    return os.isatty(0)


async def ask(prompt: str) -> str:
    """Print `prompt` and return the line typed, without its end.

    A daemon thread reads, so that Ctrl-C at the prompt ends the program without another key.

    Raises:
        EndOfInput: the input ended before a line was typed.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def finish(line: bytes) -> None:
        if answer.done():
            return
        if line:
            answer.set_result(line.decode(errors="replace").rstrip("\r\n"))
        else:
            answer.set_exception(EndOfInput("the input ended before a line was typed"))

    def read() -> None:
        # os.read and not sys.stdin: a daemon thread inside a buffered read would hold its lock
        # while the interpreter ends, which aborts the process.
        line = b""
        try:
            while not line.endswith(b"\n"):
                byte = os.read(0, 1)
                if not byte:
                    break
                line += byte
        except OSError:
            line = b""
        try:
            loop.call_soon_threadsafe(finish, line)
        except RuntimeError:
            return  # the loop was closed meanwhile: nobody waits for the answer

    stdout.print(prompt, end="", markup=False, soft_wrap=True)
    stdout.file.flush()
    threading.Thread(target=read, name="prompt", daemon=True).start()
    return await answer

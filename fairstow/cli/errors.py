"""From what went wrong to a sentence on standard error and an exit code.

Used by every command through `command.Command`. The codes are part of the program's interface:
scripts tell a plan that is refused (1) from input that can't be used (2).
"""

import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum

import typer

from fairstow.cli import terminal
from fairstow.cli.layout import one_line
from fairstow.cluster.errors import InputError


class Code(IntEnum):
    """Exit codes, beside 130 for Ctrl-C and 141 for a reader that went away."""

    DONE = 0
    REFUSED = 1
    INPUT = 2
    CLUSTER = 3
    INTERNAL = 4


class ClusterError(Exception):
    """The cluster can't be reached or refuses access; carries the `InputError` that says how."""

    def __init__(self, cause: InputError) -> None:
        self.cause = cause
        super().__init__(str(cause))


class InternalError(Exception):
    """A fault of Fairstow's own, with what a report of it needs."""

    def __init__(self, problem: str, details: Sequence[str] = ()) -> None:
        self.problem = problem
        self.details = tuple(details)
        super().__init__(problem)


@contextmanager
def reported(debug: bool) -> Iterator[None]:
    """Turn errors into messages and exit codes; with `debug` the traceback is shown as well.

    Raises:
        typer.Exit: with one of `Code`.
    """
    try:
        yield
        terminal.flush()
    except InputError as error:
        _say(error, debug, Code.INPUT)
    except ClusterError as error:
        _say(error.cause, debug, Code.CLUSTER)
    except terminal.OutputError as error:
        _say(InputError("standard output", f"can't be written: {error}"), debug, Code.INPUT)
    except InternalError as error:
        _say_internal(error, debug)
    except (typer.Exit, typer.Abort):
        raise
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError,
            AssertionError, OSError, ImportError, MemoryError) as error:  # fmt: skip
        if _interrupted(error):
            raise typer.Exit(128 + signal.SIGINT) from error
        if type(error).__module__.startswith("typer."):  # usage errors are typer's to show
            raise
        _say_internal(InternalError(f"{type(error).__name__}: {error}"), debug)


def _interrupted(error: BaseException | None) -> bool:
    """Whether an error is Ctrl-C in disguise: extension modules turn it into an ImportError."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _say(error: InputError, debug: bool, code: Code) -> None:
    if debug:
        traceback.print_exc()
    terminal.complain(one_line(f"error: {error.where}: {error.problem}"))
    if error.hint:
        terminal.complain(error.hint)
    raise typer.Exit(code)


def _say_internal(error: InternalError, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    terminal.complain(f"internal error: {error.problem}")
    for line in error.details:
        terminal.complain(f"  {line}")
    again = "" if debug else " and what the same command says with --debug"
    terminal.complain(
        "This is a fault of Fairstow's, not of your input. Nothing was changed in the cluster.\n"
        f"Please report it with the lines above{again},\n"
        f"the output of `{terminal.program()} version` and, if you may share it, the dump\n"
        f"(`{terminal.program()} snapshot --anonymize` replaces every name in it)."
    )
    raise typer.Exit(Code.INTERNAL)

"""What all commands share: help as kubectl writes it, errors as sentences, `--debug`."""

import inspect
from typing import Any

from typer.core import TyperCommand, TyperGroup

from fairstow.cli import terminal
from fairstow.cli.errors import reported
from fairstow.cluster.items import FETCH


class Command(TyperCommand):
    """A command. Its docstring is the help: a sentence, then `Examples:`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options_metavar = "[options]"

    def invoke(self, ctx: Any) -> Any:
        """Run the command; whatever goes wrong ends in a message and an exit code."""
        with reported(bool(ctx.params.get("debug"))):
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write what it does, examples, options, and the usage line last."""
        _write_text(self.help, formatter)
        self.format_options(ctx, formatter)
        _write_usage(self, ctx, formatter)


class Group(TyperGroup):
    """The program itself."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write what it does, the commands, and how to learn more."""
        _write_text(self.help, formatter)
        self.format_options(ctx, formatter)  # and the commands
        _write_usage(self, ctx, formatter)
        formatter.write(f'\nUse "{ctx.command_path} <command> --help" for more about a command.\n')


def _write_text(text: str | None, formatter: Any) -> None:
    shown = inspect.cleandoc(text or "")
    shown = shown.replace("{program}", terminal.program()).replace("{fetch}", FETCH)
    formatter.write(shown + "\n")


def _write_usage(command: Any, ctx: Any, formatter: Any) -> None:
    pieces = " ".join(command.collect_usage_pieces(ctx))
    formatter.write(f"\nUsage:\n  {ctx.command_path} {pieces}\n")

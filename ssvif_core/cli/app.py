"""The `ssvif` command: gathers the verbs and turns user errors into one line.

The typer of Ubuntu 24.04 (0.9) reads annotations only where they are no strings, and knows
`Optional[X]` but not `X | None`: hence no `from __future__ import annotations` in files of verbs.
"""

import io
import logging
import sys
from typing import Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from typer.core import TyperGroup

from ssvif_core import __version__
from ssvif_core.cli import (
    adapt,
    bench,
    calibrate,
    doctor,
    engine,
    evaluate,
    export,
    fuse,
    record_demo,
    replay,
    train,
)
from ssvif_core.errors import SsvifError, StoppedError

__all__ = ["main"]

#: What shells give a program that SIGINT ended: 128 + 2.
STOPPED = 130


class _Verbs(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run a verb. What Ctrl-C ends with is said here: typer's versions do not agree."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise StoppedError("Stopped.") from None


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fuse a camera and a thermal camera: train, export, and run on files.",
)
app.command()(fuse.fuse)
app.command()(calibrate.calibrate)
app.command()(train.train)
app.command()(adapt.adapt)
app.command()(export.export)
app.command()(evaluate.evaluate)
app.add_typer(engine.app, name="engine")
app.command()(bench.bench)
app.command("replay")(replay.replay_bags)
app.command()(record_demo.record_demo)
app.command()(doctor.doctor)


def _show_version(value: bool) -> None:
    if value:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options that come before the verb."""


def main() -> None:
    """Entry point of the `ssvif` script.

    Exit status: 0 done, 1 user error, 2 wrong usage, 130 stopped by Ctrl-C.
    """
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_time=False, show_path=False)],
    )
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does
    try:
        app()
    except SsvifError as error:
        _say(str(error))
        sys.exit(STOPPED if isinstance(error, StoppedError) else 1)
    except OSError as error:
        if error.filename is None:
            raise  # a bug, not a file of the user's
        _say(f"Cannot use {error.filename}: {error.strerror}. Check the path, permissions, space.")
        sys.exit(1)


def _say(reason: str) -> None:
    Console(stderr=True).print(
        f"[bold red]error:[/] {escape(reason)}", highlight=False, soft_wrap=True
    )

"""Entry point of the `gendef` program: finds the command, runs it, turns errors into one sentence."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from gendef._version import __version__
from gendef.errors import GendefError
from gendef.runtime.memory import keep_freed_memory

# command -> (module, one line of help). The module has `run(arguments) -> int | None` beside a light module of the same
# name with "_arguments" that has `parse(argv)`; or, without one, `main(argv: list[str]) -> int | None`.
COMMANDS: dict[str, tuple[str, str]] = {
    "sample": ("gendef.cli.sample", "generate videos with a model"),
    "animate": ("gendef.cli.animate", "make a photograph move"),
    "train": ("gendef.cli.train", "train GenDeF in two stages on a data archive"),
    "ablate": ("gendef.cli.ablate", "the paper's comparisons: baselines and ablations under an equal budget"),
    "data": ("gendef.cli.data", "prepare or inspect a data archive from videos"),
    "edit": ("gendef.cli.edit", "edit the canonical image, and the video follows"),
    "motions": ("gendef.cli.motions", "give the content of a clip other motions"),
    "show": ("gendef.cli.show", "draw a clip: its canonical image, fields and frames"),
    "eval": ("gendef.cli.eval", "measure videos: FVD, KVD, motion, reconstruction, tracks, masks"),
    "flow": ("gendef.cli.flow", "optical flow of a clip, as files and drawn"),
    "fit": ("gendef.cli.fit", "fit a canonical image and a deformation field to a real video"),
    "export": ("gendef.cli.export", "a clip as a web page, or as STMaps for compositing programs"),
    "import": ("gendef.cli.import", "a clip from the STMaps of another program"),
    "app": ("gendef.cli.app", "the web app: generate, edit, track and fit in a browser"),
    "track": ("gendef.cli.track", "follow points through a clip or a video"),
    "segment": ("gendef.cli.segment", "carry a mask or labels through a clip or a video"),
    "bench": ("gendef.cli.bench", "time the sampling of a model on this machine"),
}

# Commands that repeatedly allocate and free large feature maps.
KEEPING = ("sample", "animate", "train", "ablate", "bench")


def _usage() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return (
        f"gendef {__version__}: a video is one still image that moves\n\n"
        f"usage: gendef COMMAND [options]\n\n{rows}\n\n"
        "example: gendef sample sky --seeds 0-3 --frames 64 --out videos\n"
        "`gendef COMMAND --help` explains one command; every command takes --debug and --log-level."
    )


def _run(command: str, argv: list[str]) -> int:
    """Parse the arguments, then import what the command works with: torch takes longer than `--help` may."""
    module = COMMANDS[command][0]
    parse = None
    if find_spec(f"{module}_arguments") is not None:
        parse = getattr(import_module(f"{module}_arguments"), "parse", None)
    if parse is None:  # a command of several subcommands parses for itself
        return import_module(module).main(argv) or 0
    arguments = parse(argv)
    from gendef.cli.common import set_up_logging

    set_up_logging(arguments.common)
    return import_module(module).run(arguments) or 0


def _process() -> str:
    """The number of this process for error messages, if torchrun or `--processes` started several."""
    rank, size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE", "1")
    return f" (process {rank} of {size})" if rank and size != "1" else ""


def _what_failed(error: OSError) -> str:
    """The reason, the file, and the innermost function of gendef in the traceback."""
    reason = error.strerror or str(error) or type(error).__name__
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    files = " -> ".join(repr(os.fsdecode(name)) for name in names)
    doing = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        if module.startswith("gendef."):
            doing = f"{frame.f_code.co_name}() of {module}"
    return f"{reason}: {files} (in {doing})" if files else f"{reason} (in {doing})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with `argv` (default: the process's arguments); returns the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(_usage())
        return 0 if args else 2
    if args[0] == "--version":
        print(__version__)
        return 0
    command, rest = args[0], args[1:]
    if command not in COMMANDS:
        print(f"gendef: unknown command {command!r}; one of: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    if command in KEEPING:
        keep_freed_memory()
    try:
        return _run(command, rest)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (GendefError, OSError) as error:
        if "--debug" in rest:
            traceback.print_exc()
        # An OSError (full disk, missing folder, permission) is usually something that the user can fix.
        text = str(error) if isinstance(error, GendefError) else _what_failed(error)
        print(f"gendef {command}{_process()}: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"gendef {command}: stopped", file=sys.stderr)
        return 130

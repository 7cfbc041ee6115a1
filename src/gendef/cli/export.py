"""`gendef export`: a clip as a page to send to a friend."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gendef.cli.progress import progress_bar
from gendef.errors import InputError
from gendef.video.canonical_video import CanonicalVideo
from gendef.visualization.html_export import DEFAULT_LIMIT, write_html

DESCRIPTION = (
    "Write a clip as one HTML file that needs no server and no network: it plays, shows the deformation field, and "
    "lets whoever opens it paint on the canonical image and watch the moving video follow.\n\n"
    "example: gendef export videos/seed0000 --html clip.html\n\n"
    'example: gendef export videos/seed0000 --html clip.html --title "A morning in May" --max-megabytes 8'
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    clip: Annotated[Path, tyro.conf.Positional]
    """Clip folder."""
    html: Path = Path("clip.html")
    """The page to write."""
    title: str | None = None
    """Heading of the page; default the clip folder's name."""
    max_megabytes: float = DEFAULT_LIMIT / 1e6
    """Size the page may have; the field is stored more coarsely where it would get larger."""
    json: bool = False
    """Print what was written as JSON."""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    arguments = tyro.cli(Arguments, args=argv, prog="gendef export", description=DESCRIPTION)
    if arguments.html.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--html must end in .html, got {arguments.html}")
    if not arguments.max_megabytes > 0:
        raise InputError(f"--max-megabytes must be positive, got {arguments.max_megabytes}")
    clip = CanonicalVideo.load(arguments.clip)
    title = arguments.title or arguments.clip.resolve().name
    limit = round(arguments.max_megabytes * 1e6)
    with progress_bar() as progress:
        task = progress.add_task("exporting", total=clip.num_frames)
        report = write_html(
            arguments.html,
            clip,
            title=title,
            limit=limit,
            on_progress=lambda share: progress.update(task, completed=round(share * clip.num_frames)),
        )
    if arguments.json:
        print(json.dumps({"html": str(arguments.html), **asdict(report)}))
    else:
        print(
            f"{arguments.html}: {report.bytes / 1e6:.2f} MB, on average {report.grey_levels:.2f} grey levels from the "
            f"rendered video; open it in a browser"
        )
    return 0

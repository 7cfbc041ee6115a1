"""`gendef fit`: a canonical image and a deformation field for a real video."""

import json
from typing import Any

from rich.progress import Progress as ProgressBar

from gendef.cli.fit_arguments import Arguments, parse
from gendef.cli.progress import progress_bar
from gendef.fitting.fit import fit_scenes
from gendef.fitting.output import clip_folder
from gendef.fitting.progress import Progress, ProgressCallback
from gendef.video.clip_format import CANONICAL
from gendef.video.layered_format import layer_name


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    options = arguments.fit_options()
    if arguments.model is not None:
        from gendef.cli.fit_model import fit_model

        return fit_model(arguments, arguments.model, options.budget)
    with progress_bar() as bar:
        clips = fit_scenes(arguments.video, options, on_progress=_callback(bar), out=arguments.out)
    folders = [clip_folder(arguments.out, number, len(clips)) for number in range(len(clips))]
    reports = [
        {"clip": str(folder), "frames": clip.info["frames"], **clip.report}
        for folder, clip in zip(folders, clips, strict=True)
    ]
    warnings = list(dict.fromkeys(text for report in reports for text in report["warnings"]))
    if arguments.json:
        print(json.dumps({"clips": reports, "warnings": warnings}))
        return 0
    for text in warnings:
        print(f"warning: {text}")
    for report in reports:
        print(
            f"{report['clip']}: frames {report['frames'][0]} to {report['frames'][1]}, PSNR {report['psnr']:.2f} dB "
            f"(worst frame {report['psnr_min']:.2f}{_without_illumination(report)}), "
            f"{100 * report['explained']:.1f} % of the pixels explained, "
            f"{100 * report['seen']:.0f} % of the canonical image seen, {report['seconds']:.0f} s"
        )
    picture = folders[0] / CANONICAL
    if not picture.exists():
        picture = folders[0] / layer_name(0) / CANONICAL
    print(f"look at {picture} and {folders[0] / 'preview.mp4'}")
    return 0


def _without_illumination(report: dict[str, Any]) -> str:
    """The PSNR without the illumination, if it was estimated."""
    if "psnr_without_illumination" not in report:
        return ""
    return f"; {report['psnr_without_illumination']:.2f} without the illumination"


def _callback(bar: ProgressBar) -> ProgressCallback:
    """A progress callback that moves a progress bar."""
    task = bar.add_task("reading", total=1000)

    def show(progress: Progress) -> None:
        scene = f"scene {progress.scene + 1} of {progress.scenes}, " if progress.scenes > 1 else ""
        quality = "" if progress.psnr != progress.psnr else f", {progress.psnr:.2f} dB"
        bar.update(task, completed=round(1000 * progress.done), description=f"{scene}{progress.stage}{quality}")

    return show

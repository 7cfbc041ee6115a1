"""`gendef fit --model`: a real clip inside a generator, and the generator tuned to it."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gendef.cli.progress import progress_bar
from gendef.errors import InputError
from gendef.fitting.progress import Progress
from gendef.inversion.invert import Inversion, InversionOptions, invert
from gendef.inversion.state import InversionStateFile
from gendef.media.images import to_uint8, write_image
from gendef.model.gendef import GenDeF
from gendef.runtime.resume_file import keeping_damaged
from gendef.video.clip_format import CANONICAL, META, check_replaceable
from gendef.visualization.drawing import (
    contact_sheet,
    spread_frames,
)

if TYPE_CHECKING:
    from gendef.cli.fit_arguments import Arguments

STATE = ".inversion-state.safetensors"
PREVIEW_EVERY = 5.0
"""Least number of seconds between two previews."""
SHEET_FRAMES, SHEET_SIDE = 6, 128
MOTIONS = (1, 2)
"""Seeds of the other motions on the sheet."""


def fit_model(arguments: "Arguments", model_name: str, budget: float | None) -> int:
    """Run the command."""
    out = arguments.out
    if arguments.masks is not None or arguments.layers != "one":
        raise InputError("a generator has one canonical image: --model goes without --masks and --layers")
    if arguments.illumination:
        raise InputError("a generator has no illumination of single frames: --model goes without --illumination")
    check_replaceable(out)
    model_folder, sheet = out.with_name(f"{out.name}_model"), out.with_name(f"{out.name}_sheet.png")
    if model_folder.is_file():
        raise InputError(f"{model_folder} is a file, but the tuned model shall be a folder there: choose another --out")
    model = GenDeF.from_pretrained(model_name)
    options = InversionOptions(arguments.quality, arguments.seed, budget)
    if not arguments.video.exists():
        raise InputError(f"there is no {arguments.video}")
    job = {
        "source": str(arguments.video.resolve()),
        "changed": arguments.video.stat().st_mtime_ns,
        "start": arguments.start,
        "frames": arguments.frames,
        "weights": model.fingerprint,
        **asdict(options),
    }
    state = InversionStateFile(out / STATE, job)
    preview = None if (out / META).exists() else out / CANONICAL
    shown = time.perf_counter()
    with progress_bar() as bar:
        task = bar.add_task("reading", total=1000)

        def on_progress(progress: Progress) -> None:
            nonlocal shown
            text = progress.stage if progress.psnr != progress.psnr else f"{progress.stage}, {progress.psnr:.2f} dB"
            bar.update(task, completed=round(1000 * progress.done), description=text)
            if preview and progress.canonical is not None and time.perf_counter() - shown >= PREVIEW_EVERY:
                shown = time.perf_counter()
                preview.parent.mkdir(parents=True, exist_ok=True)
                write_image(preview, to_uint8(progress.canonical))

        found = invert(arguments.video, model, arguments.start, arguments.frames, options, on_progress, state)
        bar.update(task, completed=1000, description="done")
    found.model.name = str(model_folder)
    found.video.info["model"] = found.model.name
    found.model.save_pretrained(model_folder)
    with keeping_damaged(out):
        found.video.save(out)
    write_image(sheet, inversion_sheet(found))
    state.remove()
    _print_result(found, arguments, model_folder, sheet)
    return 0


def _print_result(found: Inversion, arguments: "Arguments", model_folder: Path, sheet: Path) -> None:
    report = found.video.report
    if arguments.json:
        written = {"clip": str(arguments.out), "model": str(model_folder), "sheet": str(sheet)}
        print(json.dumps({**written, "frames": found.video.info["frames"], **report}))
        return
    for text in report["warnings"]:
        print(f"warning: {text}")
    print(
        f"{arguments.out}: PSNR {report['psnr']:.2f} dB, SSIM {report['ssim']:.3f} (before the tuning "
        f"{report['psnr_before_tuning']:.2f} dB, {report['ssim_before_tuning']:.3f}), {report['seconds']:.0f} s"
    )
    print(f"look at {sheet}; other motions:  gendef motions {arguments.out} --seeds 1-8 --out motions")
    print(f"what lies near this content:  gendef sample {model_folder} --truncation 0.3 --out near")


def inversion_sheet(found: Inversion) -> np.ndarray:
    """Rows of pictures: input, inversion before and after tuning, and other motions; uint8 (H, W, 3)."""
    chosen = spread_frames(found.video.num_frames, SHEET_FRAMES)
    videos = [("found in the model", found.untuned), ("model tuned", found.video)]
    videos += [
        (f"motion {seed}", other)
        for seed, other in zip(MOTIONS, found.model.sample_motions(found.video, MOTIONS), strict=True)
    ]
    names, rows = ["input"], [[found.target.canonical[None], found.target.frames[chosen]]]
    for name, video in videos:
        names.append(name)
        rows.append([video.canonical[None], video.render(frames=chosen)])
    pictures = [[_enlarged(image) for part in row for image in to_uint8(part)] for row in rows]
    columns = ["canonical image", *(f"frame {number}" for number in chosen)]
    return contact_sheet(pictures, 4, row_labels=names, column_labels=columns)


def _enlarged(image: np.ndarray) -> np.ndarray:
    side = max(SHEET_SIDE, image.shape[0])
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))

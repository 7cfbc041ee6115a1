"""`gendef bench`: how fast a model samples here, and where the time goes."""

import json
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from gendef.bench.sampling import PHASES, bench_sampling, steps
from gendef.cli.bench_arguments import Arguments, parse
from gendef.cli.progress import progress_bar
from gendef.errors import InputError
from gendef.model.gendef import GenDeF
from gendef.networks.generator import Generator
from gendef.runtime.atomic_file import replacing
from gendef.runtime.devices import choose_device
from gendef.runtime.precision import compute_dtype
from gendef.training.presets import preset


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    for name in ("frames", "runs", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} must be at least 1, got {value}")
    if arguments.model is not None and arguments.preset is not None:
        raise InputError("--model and --preset exclude each other: give one of them")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    generator = _generator(arguments)
    with progress_bar() as progress:
        task = progress.add_task("timing", total=steps(arguments.runs, arguments.reference))
        report = bench_sampling(
            generator,
            arguments.frames,
            runs=arguments.runs,
            reference=arguments.reference,
            compiled=arguments.compile,
            on_step=lambda: progress.advance(task),
        )
    report["model"] = arguments.model or arguments.preset or "sky"
    if arguments.out is not None:
        with replacing(arguments.out) as temporary:
            temporary.write_text(json.dumps(report, indent=1))
    if arguments.json:
        print(json.dumps(report))
    else:
        _show(report)
    return 0


def _generator(arguments: Arguments) -> Generator:
    device = choose_device(arguments.device)
    if arguments.preset is None:
        name = arguments.model or "sky"
        return GenDeF.from_pretrained(name, device=device, precision=arguments.precision).generator
    torch.manual_seed(0)
    generator = Generator(preset(arguments.preset).generator).eval().requires_grad_(False).to(device)
    generator.compute_dtype = compute_dtype(arguments.precision, device)
    return generator


def _show(report: dict[str, Any]) -> None:
    machine, console = report["machine"], Console()
    how = f"{report['precision']}, compiled" if report["compiled"] else report["precision"]
    console.print(
        f"{machine['processor']}, {machine['device']}, {machine['threads']} threads, Python {machine['python']}, torch "
        f"{machine['torch']}, gendef {machine['gendef']}; {how}, matrix products at "
        f"{report['matmul_gflops']:.0f} GFLOP/s"
    )
    table = Table(
        title=f"{report['model']}: {report['frames']} frames of {report['resolution']}x{report['resolution']}"
    )
    for column in ("phase", "seconds", "share", "GFLOP", "GFLOP/s"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for phase in PHASES:
        seconds, work = report["seconds"][phase], report["gflop"].get(phase)
        speed = "" if work is None else f"{work / seconds:.0f}"
        share = f"{100 * seconds / report['total_seconds']:.0f} %"
        table.add_row(phase, f"{seconds:.3f}", share, "" if work is None else f"{work:.1f}", speed)
    console.print(table)
    console.print(
        f"{report['frames_per_second']:.1f} frames/s in all, {report['over_arithmetic']:.2f} times what the arithmetic "
        f"takes at the rate of matrix products ({report['over_direct']:.2f} times with direct convolutions); edited: "
        f"{report['edit_frames_per_second']:.0f} frames/s"
    )
    if "reference" in report:
        literal = report["reference"]
        whole = literal["canonical_seconds"] + literal["fields_seconds"]
        console.print(
            f"plain kernels: canonical image {literal['canonical_seconds']:.2f} s, {literal['canonical_ratio']:.1f} "
            f"times ours; with fields {whole:.1f} s, {literal['ratio']:.1f} times ours "
            f"(from {literal['timed_frames']} frames)"
        )

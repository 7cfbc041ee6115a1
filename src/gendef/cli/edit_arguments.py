"""Arguments of `gendef edit`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions

DESCRIPTION = (
    "Edit the canonical image of a clip; every frame follows. Several edits are made in the order in which the options "
    "stand below.\n\n"
    "filters: grey, sepia, posterise, edge, hue, blur; hue, blur, posterise and edge take an amount, as in blur:3\n\n"
    "example: gendef edit videos/seed0000 --canonical painted.png --out edited\n\n"
    "example: gendef edit videos/seed0000 --overlay-frame 12 scribble.png --out edited\n\n"
    "example: gendef edit videos/seed0000 --filter sepia --mask sky.png --out edited\n\n"
    "example: gendef edit clip --prompt 'a watercolour painting' --out edited"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    clip: Annotated[Path, tyro.conf.Positional]
    """Clip folder."""
    out: Path = field(default=Path("edited"))
    """Folder for the edited clip, edited.mp4, before_after.mp4 and sheet.png."""
    canonical: Path | None = None
    """Picture of any size that replaces the canonical image: edit the clip's canonical.png in any program."""
    style: Path | None = None
    """Apply a feed-forward style network: .onnx, .safetensors or .pth."""
    prompt: str | None = None
    """Change the image by a text prompt with a diffusion model, downloaded at first use; a GPU is advised."""
    filter: str | None = None
    """Built-in filter, such as sepia or hue:180."""
    overlay: Path | None = None
    """Picture with transparency, drawn over the canonical image."""
    overlay_frame: tuple[int, Path] | None = None
    """Frame number, and a picture with transparency drawn over that frame; carried to all others."""
    layer: int | None = None
    """Layer to edit in a clip with layers; default 0, the rearmost; for --overlay-frame all layers."""
    mask: Path | None = None
    """Mask on the canonical image: edits apply where it is white."""
    side: int | None = None
    """Shorter side, in pixels, at which --style and --prompt run; default the canonical image's for --style, 512 for
    --prompt."""
    strength: float = 0.7
    """How much --prompt changes the image, up to 1."""
    steps: int = 30
    """Denoising steps of --prompt."""
    seed: int = 0
    """Seed of --prompt."""
    diffusion_model: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    """Folder or hub repository of the diffusion model."""
    controlnet: str = "lllyasviel/sd-controlnet-canny"
    """Folder or hub repository of its Canny ControlNet."""
    device: str = "auto"
    """cpu, cuda, mps, or auto, for --prompt."""
    size: int | None = None
    """Shorter side of the edited video in pixels; default that of the source, or of the clip without a source."""
    source: Path | None = None
    """The original footage, to which the edit is applied; default its path when the clip was fitted."""
    rendered: bool = False
    """Write the rendering of the clip, not the edit over the original footage."""
    layer_only: bool = False
    """Write only the edit, with transparency; needs --codec prores4444, ffv1 or vp9."""
    codec: Literal["h264", "hevc", "prores", "prores4444", "ffv1", "vp9"] = "h264"
    """Codec of the edited video, which determines the suffix of its file."""
    crf: int | None = None
    """Constant rate factor of h264, hevc and vp9: lower is better quality and a larger file; default near lossless."""
    no_audio: bool = False
    """Omit the sound of the source."""
    gif: bool = False
    """Also write edited.gif."""
    json: bool = False
    """Print the written files and the share of changed pixels as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef edit", description=DESCRIPTION)

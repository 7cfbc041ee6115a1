"""The commands that would reproduce a row of the paper's Table 1 from the original data."""

from dataclasses import dataclass

from gendef.errors import InputError
from gendef.experiments.paper_tables import BASELINES
from gendef.training.presets import preset


@dataclass(frozen=True)
class PaperRow:
    """A data set of the paper: its name there, where it comes from, and how it is prepared."""

    data: str
    source: str
    folder: str
    prepare: str


GPUS = 8
"""The paper's."""

ROWS = {
    "sky256": PaperRow(
        "SkyTimelapse",
        "SkyTimelapse (Xiong et al. 2018), the training clips as folders of frames: github.com/weixiong-ur/mdgan",
        "sky_timelapse/sky_train",
        "--resolution 256 --no-cut-scenes",
    ),
    "taichi256": PaperRow(
        "TaiChi-HD",
        "TaiChi-HD (Siarohin et al. 2019), cut as its authors say: github.com/AliaksandrSiarohin/first-order-model",
        "taichi/train",
        "--resolution 256 --no-cut-scenes",
    ),
    "ytb256": PaperRow(
        "YouTube Driving",
        "YouTube Driving (Zhang et al. 2022): github.com/metadriverse/ACO",
        "youtube_driving",
        "--resolution 256",
    ),
}


def protocol(name: str) -> str:
    """Commands and what to expect of them, as text.

    Args:
        name: a preset of the paper: sky256, taichi256 or ytb256.

    Raises:
        InputError: there is no such row.
    """
    if name not in ROWS:
        raise InputError(f"there is no protocol {name!r}; one of: {', '.join(ROWS)}")
    row, config = ROWS[name], preset(name)
    images, clips, batch = config.pretrain.images, config.finetune.images, config.finetune.batch_size
    archive, run = f"{name}.zip", f"runs/{name}"
    paper = BASELINES[row.data]
    lines = [
        f"# {row.data}, 256x256: the row of GenDeF in Table 1 (arXiv 2312.04561)",
        f"# Data: {row.source}",
        f"# The paper: {GPUS} GPUs, batches of {batch}, {images:,} images of stage 1 and {clips:,} clips of stage 2.",
        "",
        "# 1. data",
        f"gendef data prepare {row.folder} --out {archive} {row.prepare} --format png",
        f"gendef data info {archive}",
        "",
        f"# 2. GenDeF and the baselines on {GPUS} GPUs each: batches of {batch}, {batch // GPUS} a GPU.",
        "#    --pretrain.batch-size and --finetune.batch-size make them smaller where memory ends. The same command",
        "#    continues a stopped run, on any number of GPUs that divides the batch. Several nodes: docs/training.md.",
    ]
    for model in ("gendef", "stylesv-mtm", "stylegan-v", "mocogan"):
        out = f"{run}-{model}"
        lines.append(
            f"torchrun --standalone --nproc-per-node {GPUS} -m gendef train"
            f" --data {archive} --preset {name} --model {model} --out {out}"
        )
    lines += [
        "",
        "# 3. the ablations: one process, one GPU; --rows divides them over GPUs",
        f"gendef ablate --suite paper --data {archive} --preset {name} --out {run}-ablations"
        " --pretrain-minutes 6000 --finetune-minutes 6000 --count 2048 --clips-per-video 1 --seeds 0-2",
        "",
        "# 4. FVD16 and FVD128 by StyleGAN-V's protocol: 2048 clips, one from each video, against the training data.",
        "#    i3d-kinetics-400.ckpt: docs/metrics.md says where it comes from.",
    ]
    for model in ("gendef", "stylesv-mtm", "stylegan-v", "mocogan"):
        for frames in (16, 128):
            lines.append(
                f"gendef eval fvd {run}-{model}/model {archive} --frames {frames} --count 2048 --seeds 0-2"
                f" --detector-weights i3d-kinetics-400.ckpt --out {run}-{model}/fvd{frames}.json"
            )
    lines += [
        "",
        "# 5. FID needs the Inception network as a detector of your own (docs/metrics.md): my_detectors:inception",
        f"gendef eval fid {run}-gendef/model {archive} --count 50000 --detector my_detectors:inception",
        "",
        "# The paper's numbers:  FVD16  FVD128  FID",
        *(f"#   {name:<14} {s.fvd16:>7} {s.fvd128:>7} {s.fid:>6}" for name, s in paper.items()),
    ]
    return "\n".join(lines)

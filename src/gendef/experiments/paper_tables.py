"""The numbers of GenDeF's Tables 1 to 4, A1 and A2 (arXiv 2312.04561), as data; docs/paper_tables.md shows them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scores:
    """FVD16, FVD128 and FID; None where the paper gives none."""

    fvd16: float
    fvd128: float | None = None
    fid: float | None = None


BASELINES: dict[str, dict[str, Scores]] = {
    "SkyTimelapse": {
        "StyleGAN-V": Scores(73.9, 248.3, 40.8),
        "StyleSV": Scores(49.0, 135.9, 49.9),
        "StyleSV-mtm": Scores(42.3, 124.6, 44.5),
        "GenDeF": Scores(41.8, 128.1, 40.7),
    },
    "TaiChi-HD": {
        "StyleGAN-V": Scores(152.0, 267.3, 33.8),
        "StyleSV": Scores(97.4, 188.9, 26.6),
        "StyleSV-mtm": Scores(89.5, 180.6, 25.2),
        "GenDeF": Scores(88.2, 172.4, 20.7),
    },
    "YouTube Driving": {
        "DIGAN": Scores(415.1, 412.7, 26.6),
        "StyleGAN-V": Scores(449.8, 460.6, 28.3),
        "StyleSV": Scores(207.2, 221.5, 19.2),
        "StyleSV-mtm": Scores(194.8, 198.4, 10.3),
        "GenDeF": Scores(181.9, 188.5, 8.0),
    },
}
"""Table 1."""

ABLATIONS: dict[str, dict[str, Scores]] = {
    "YouTube Driving": {
        "GenDeF": Scores(181.9, 188.5, 8.0),
        "w/o f_c": Scores(553.4, 407.8, 13.4),
        "w/o L_reg": Scores(191.4, 190.6, 7.9),
        "f_c of layer 4": Scores(284.0),
        "f_c of layer 8": Scores(265.3),
        "f_c of layer 10": Scores(241.2),
        "f_c of layer 12": Scores(189.5),
        "f_c of layer 13": Scores(181.9),
        "f_c of layer 14": Scores(363.7),
        "w/o pretraining": Scores(876.4, 694.6, 51.4),
        "pretrained, fixed": Scores(354.1, 337.7, 17.3),
        "w/o multiplier": Scores(282.0, 234.4, 9.8),
        "xavier": Scores(181.3, 203.2, 8.5),
    },
    "SkyTimelapse": {
        "GenDeF": Scores(41.8, 128.1, 40.7),
        "w/o f_c": Scores(87.3, 232.1, 47.1),
        "w/o L_reg": Scores(40.8, 144.9, 40.0),
        "w/o pretraining": Scores(115.7, 275.4, 63.6),
        "pretrained, fixed": Scores(64.5, 190.2, 47.1),
        "w/o multiplier": Scores(51.7, 163.5, 44.7),
        "xavier": Scores(42.5, 133.6, 41.2),
    },
}
"""Tables 2 to 4 and A1: f_c and L_reg, the layer of f_c, pretraining, multiplier and initialisation."""

FID_OF_STAGES: dict[str, tuple[float, float]] = {
    "YouTube Driving": (11.4, 8.0),
    "SkyTimelapse": (43.6, 40.7),
    "TaiChi-HD": (24.4, 20.7),
}
"""Table A2: FID of the image generator before, and of videos after finetuning."""

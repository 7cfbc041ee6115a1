"""Folders of latent models: an autoencoder alone, or with the prior of its latents."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendef.errors import ConfigError, ModelError
from gendef.model.checkpoint import CONFIG, WEIGHTS, read_config, read_state, write_model
from gendef.networks.autoencoder import Autoencoder, AutoencoderConfig
from gendef.networks.latent_prior import LatentPrior, LatentPriorConfig
from gendef.runtime.config import build_config

KEY = "latent"
"""Key of config.json that tells a latent model from a GAN."""


def save_autoencoder(folder: str | Path, autoencoder: Autoencoder, info: dict[str, Any], *, half: bool = False) -> None:
    """Write the folder of an autoencoder; `half` stores float16 weights."""
    write_model(folder, _named("autoencoder", autoencoder), {KEY: _description(autoencoder, None)}, info, half=half)


def save_prior(
    folder: str | Path, autoencoder: Autoencoder, prior: LatentPrior, info: dict[str, Any], *, half: bool = False
) -> None:
    """Write the folder of an autoencoder and the prior of its latents; `half` stores float16 weights."""
    weights = {**_named("autoencoder", autoencoder), **_named("prior", prior)}
    write_model(folder, weights, {KEY: _description(autoencoder, prior)}, info, half=half)


def load_autoencoder(folder: str | Path) -> tuple[Autoencoder, dict[str, Any]]:
    """The autoencoder of a folder, which may hold a prior too, in evaluation mode, and the info saved with it.

    Raises:
        ModelError: a file is missing, damaged, of another kind, or does not fit the configuration.
    """
    autoencoder, _, info = load_latent(folder)
    return autoencoder, info


def load_latent(folder: str | Path) -> tuple[Autoencoder, LatentPrior | None, dict[str, Any]]:
    """The networks of a folder, in evaluation mode on the CPU, and the info saved with them.

    Raises:
        ModelError: a file is missing, damaged, of another kind, or does not fit the configuration.
    """
    folder = Path(folder)
    config = read_config(folder)
    described = config.get(KEY)
    if not isinstance(described, dict):
        raise ModelError(f"{folder} holds no latent model: {CONFIG} has no {KEY!r}")
    unknown = sorted(set(described) - {"autoencoder", "prior"})
    if unknown:
        raise ModelError(f"{folder / CONFIG}: {KEY} has no part {unknown[0]!r}")
    try:
        autoencoder_config = build_config(AutoencoderConfig, described.get("autoencoder"), "autoencoder")
        with torch.device("meta"):
            parts: dict[str, nn.Module] = {"autoencoder": Autoencoder(autoencoder_config)}
            if "prior" in described:
                parts["prior"] = LatentPrior(build_config(LatentPriorConfig, described["prior"], "prior"))
    except ConfigError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    shapes = {name: value.shape for key, part in parts.items() for name, value in _named(key, part).items()}
    # Shapes are compared before any memory is spent on weights.
    state = read_state(folder / WEIGHTS, shapes)
    for key, part in parts.items():
        part.to_empty(device="cpu")
        part.load_state_dict({name.removeprefix(f"{key}."): state[name] for name in _named(key, part)})
        part.eval().requires_grad_(False)
    autoencoder, prior = parts["autoencoder"], parts.get("prior")
    assert isinstance(autoencoder, Autoencoder) and (prior is None or isinstance(prior, LatentPrior))
    return autoencoder, prior, dict(config.get("info") or {})


def _named(key: str, network: nn.Module) -> dict[str, Tensor]:
    return {f"{key}.{name}": value for name, value in network.state_dict().items()}


def _description(autoencoder: Autoencoder, prior: LatentPrior | None) -> dict[str, Any]:
    described = {"autoencoder": asdict(autoencoder.config)}
    return described if prior is None else {**described, "prior": asdict(prior.config)}

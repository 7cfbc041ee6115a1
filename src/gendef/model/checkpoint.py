"""Model folders: `model.safetensors` and `config.json`."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from gendef.errors import ConfigError, ModelError
from gendef.networks.baselines import AnyGenerator, build_generator
from gendef.networks.generator_config import GeneratorConfig
from gendef.runtime.atomic_file import replacing

FORMAT_VERSION = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
OTHER_KINDS = {"latent": "gendef.animation.generated:LatentGenDeF"}
"""Kinds of models that need packages above this one: a key of config.json, and the class whose `load` is imported when
such a folder is opened."""


def save_generator(folder: str | Path, generator: AnyGenerator, info: dict[str, Any], *, half: bool = False) -> None:
    """Write a model folder.

    Args:
        info: plain values to keep beside the configuration (data, images seen, frame rate).
        half: store weights as float16, for shipping.
    """
    write_model(folder, generator.state_dict(), {"generator": generator.config.to_dict()}, info, half=half)


def write_model(
    folder: str | Path, weights: dict[str, torch.Tensor], networks: dict[str, Any], info: dict[str, Any], *, half: bool
) -> None:
    """Write a model folder of any kind.

    Args:
        weights: tensors by name.
        networks: what `config.json` says of the networks, under a key that names their kind.
        info: plain values to keep beside it.
        half: store weights as float16.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    if half:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    with replacing(folder / WEIGHTS) as temporary:
        # Through bytes: save_file makes files that only their owner can read.
        temporary.write_bytes(serialize(state))
    config = {
        "format": "gendef-model",
        "version": FORMAT_VERSION,
        **networks,
        "info": info,
    }
    with replacing(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=1))


def load_generator(folder: str | Path) -> tuple[AnyGenerator, dict[str, Any]]:
    """The generator, in evaluation mode on the CPU, and the info saved with it.

    Raises:
        ModelError: a file is missing, damaged, of another format, or does not fit the configuration.
    """
    folder = Path(folder)
    config = read_config(folder)
    try:
        generator_config = GeneratorConfig.from_dict(config.get("generator", {}))
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in build_generator(generator_config).state_dict().items()}
    except ConfigError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    # Shapes are compared before any memory is spent on weights.
    state = read_state(folder / WEIGHTS, shapes)
    generator = build_generator(generator_config)
    generator.load_state_dict(state)
    return generator.eval().requires_grad_(False), dict(config.get("info") or {})


def load_other_kind(folder: Path, name: str, device: torch.device) -> Any:
    """The model in a folder, if it is of a kind in OTHER_KINDS; None if it holds a generator.

    Raises:
        ModelError: a file is missing, damaged, or of another format.
    """
    config = read_config(folder)
    for key, place in OTHER_KINDS.items():
        if key in config:
            module, _, cls = place.partition(":")
            return getattr(import_module(module), cls).load(folder, name, device)
    return None


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` of a model folder says.

    Raises:
        ModelError: a file is missing, damaged, or of another format.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is not a model folder: it has no {name}")
    try:
        config = json.loads((folder / CONFIG).read_text())
    except ValueError as error:
        raise ModelError(f"{folder / CONFIG} is damaged: {error}") from error
    if not isinstance(config, dict) or config.get("format") != "gendef-model":
        raise ModelError(f"{folder / CONFIG} does not describe a gendef model")
    if config.get("version") != FORMAT_VERSION:
        raise ModelError(
            f"{folder} has model format {config.get('version')}, this gendef reads {FORMAT_VERSION}: update gendef"
        )
    return config


def read_state(path: Path, shapes: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
    """The float32 tensors of a weight file, which must have these names and shapes.

    Raises:
        ModelError: it cannot be read, or holds something else.
    """
    state = {}
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            for name in sorted(names ^ set(shapes)):
                what = "lacks" if name in shapes else "holds an unknown"
                raise ModelError(f"{path} {what} {name!r}: weights and config.json do not belong together")
            for name, shape in shapes.items():
                found = tuple(file.get_slice(name).get_shape())
                if found != tuple(shape):
                    raise ModelError(f"{path}: {name} has shape {found}, config.json asks for {tuple(shape)}")
            for name in shapes:
                value = file.get_tensor(name).float()
                if not torch.isfinite(value).all():
                    raise ModelError(f"{path}: {name} holds values that are not finite")
                state[name] = value
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    return state

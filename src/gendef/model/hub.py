"""Finding models by name, without torch, so that a wrong name is an error before anything is loaded."""

from importlib import resources
from pathlib import Path

from gendef.errors import ModelError


def builtin_models() -> list[str]:
    """Names of the models that come with the package."""
    root = resources.files("gendef") / "models"
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if (entry / "config.json").is_file())


def may_exist(name: str) -> bool:
    """Whether a local model has that name, or it has the form of a repository on the hub."""
    return Path(name).is_dir() or name in builtin_models() or _is_repository(name)


def find_model(name: str) -> Path:
    """The folder of a built-in model, of a model folder, or of a repository on the Hugging Face hub ("user/name").

    Raises:
        ModelError: there is no such model.
    """
    folder, builtin = Path(name), name in builtin_models()
    # A folder that has the name of a built-in model but holds no model is ignored.
    if folder.is_dir() and not (builtin and _holds_no_model(folder)):
        return folder
    if builtin:
        return Path(str(resources.files("gendef") / "models" / name))
    if _is_repository(name):
        return _from_hub(name)
    raise ModelError(no_such_model(name))


def _holds_no_model(folder: Path) -> bool:
    return not any((folder / name).exists() for name in ("config.json", "model.safetensors"))


def no_such_model(name: str) -> str:
    """Error message for a name that is no model."""
    return f"there is no model {name!r}: give a folder, a hub repository, or one of {', '.join(builtin_models())}"


def _is_repository(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["model.safetensors", "config.json"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(f"there is no folder {name!r}, and no model of that name on the hub: {error}") from error

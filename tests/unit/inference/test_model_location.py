"""A model is found where it was put, and nowhere else unless a download is allowed."""

from pathlib import Path

import pytest

from perplex_mono.errors import ConfigurationError
from perplex_mono.inference.model_location import find_model


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="/no/such/folder"):
        find_model("/no/such/folder")


def test_a_name_is_looked_up_on_this_machine_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(ConfigurationError, match="allow_download"):
        find_model("nobody/no-such-model")

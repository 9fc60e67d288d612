"""The file that `setup` writes: whatever is written is what is read again, and nothing is ever half written."""

import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perplex_mono.errors import ConfigurationError
from perplex_mono.settings import Settings, load_settings
from perplex_mono.settings.descriptions import defaults
from perplex_mono.settings.writing import config_text, write_config

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(TEXT, st.lists(TEXT, max_size=3), st.floats(0.1, 60.0), st.booleans())
def test_every_value_is_read_as_it_was_written(text: str, texts: list[str], number: float, flag: bool) -> None:
    values = {"data.directory": text, "sources.roots": texts, "sources.debounce_seconds": number, "sources.watch": flag}
    read = tomllib.loads(config_text(values))
    found = {f"{section}.{key}": value for section, table in read.items() for key, value in table.items()}
    assert found == {name: value for name, value in values.items() if value != defaults()[name]}


def test_without_anything_special_there_is_only_a_comment(tmp_path: Path) -> None:
    file = tmp_path / "below" / "config.toml"
    assert write_config(file, defaults()) is None
    assert load_settings(file, {}) == Settings()
    assert all(line.startswith("#") for line in file.read_text().splitlines())


@pytest.mark.parametrize("values", [{"server.port": 0}, {"data.directory": "\udcff"}, {"server.base_path": "docs"}])
def test_what_cannot_work_leaves_the_file_as_it_was(tmp_path: Path, values: dict[str, object]) -> None:
    file = tmp_path / "config.toml"
    file.write_text("# mine\n")
    with pytest.raises(ConfigurationError):
        write_config(file, values)
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
    assert file.read_text() == "# mine\n"


def test_a_file_with_a_secret_is_its_owners_alone(tmp_path: Path) -> None:
    write_config(tmp_path / "a.toml", {"queue.redis_url": "redis://u:hunter2@h/0"})
    write_config(tmp_path / "b.toml", {"server.port": 9000})
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.toml", "b.toml")]
    assert modes == [0o600, 0o644]


def test_the_copy_of_a_secret_is_never_open_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.toml"
    write_config(file, {"queue.redis_url": "redis://u:hunter2@h/0"})
    modes: list[int] = []
    chmod = Path.chmod

    def seen(path: Path, mode: int) -> None:
        modes.append(stat.S_IMODE(path.stat().st_mode))
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", seen)
    kept = write_config(file, {"server.port": 9000})
    assert kept is not None
    assert modes == [0o600, 0o600]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600

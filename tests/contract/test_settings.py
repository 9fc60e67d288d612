"""config.toml shows every setting with its default, and no setting is without effect."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from perplex_mono.settings import Settings, load_settings, setting_names
from perplex_mono.settings.descriptions import descriptions

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config.toml"
SOURCE = ROOT / "src" / "perplex_mono"


def test_the_file_has_every_setting_with_its_default_in_order() -> None:
    written = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
    assert [f"{section}.{key}" for section, table in written.items() for key in table] == setting_names()
    assert written == msgspec.to_builtins(Settings())
    assert load_settings(CONFIG, {}) == Settings()


def test_every_setting_is_described() -> None:
    described = descriptions()
    assert list(described) == setting_names()
    assert all(len(text) >= 10 for text in described.values())


@pytest.mark.parametrize("name", setting_names())
def test_every_setting_is_read_by_the_product(name: str) -> None:
    """Somewhere as `settings.key`, `<section>.key` or `settings.<section>.key`, which is how sections are passed on."""
    section, key = ("", "data_directory") if name == "data.directory" else name.split(".")
    sources = [path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py") if path.parent.name != "settings"]
    reading = re.compile(rf"\b(?:settings|{section or 'settings'})\.{key}\b")
    assert any(reading.search(text) for text in sources), f"nothing reads {name}"

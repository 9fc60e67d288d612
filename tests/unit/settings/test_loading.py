"""Settings: the file, the environment over it, and messages that name what is wrong and what would be right."""

import os
from pathlib import Path
from typing import Annotated, get_origin, get_type_hints

import pytest
from msgspec import Meta

from perplex_mono.errors import ConfigurationError
from perplex_mono.settings import Settings, load_settings, setting_names
from perplex_mono.settings.schema import section_types
from perplex_mono.text_languages import NO_STEMMING, STEMMED_LANGUAGES


def write(path: Path, text: str) -> Path:
    file = path / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(file: Path | None = None, **environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file, environment)
    return str(caught.value)


def test_without_file_and_environment_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, {}) == Settings()


def test_the_file_in_the_working_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "[server]\nport = 9001\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, {}).server.port == 9001


def test_the_environment_wins_over_the_file_key_by_key(tmp_path: Path) -> None:
    file = write(tmp_path, '[server]\nport = 9001\nhost = "::1"\n[limits]\nmax_k = 5\n')
    settings = load_settings(file, {"PERPLEX_SERVER__PORT": "9002", "PERPLEX_SEARCH__RRF_K": "3", "PATH": "/bin"})
    assert (settings.server.port, settings.server.host) == (9002, "::1")
    assert (settings.limits.max_k, settings.search.rrf_k) == (5, 3)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("QUEUE__EMBEDDED_REDIS", "false", False),
        ("QUEUE__EMBEDDED_REDIS", "true", True),
        ("QUEUE__EMBEDDED_REDIS", "0", False),
        ("QUEUE__POLL_SECONDS", "0.5", 0.5),
        ("QUEUE__POLL_SECONDS", "3", 3.0),
        ("EMBEDDING__MODEL", "123", "123"),
        ("EMBEDDING__DEVICE", "cpu", "cpu"),
    ],
)
def test_environment_texts_become_their_types(name: str, text: str, value: object) -> None:
    section, key = name.lower().split("__")
    settings = load_settings(None, {f"PERPLEX_{name}": text})
    assert getattr(getattr(settings, section), key) == value


def test_lists_in_the_environment_are_separated_as_paths_are() -> None:
    text = os.pathsep.join(("/srv/a, b", "/srv/[c]"))
    assert load_settings(None, {"PERPLEX_SOURCES__ROOTS": text}).sources.roots == ["/srv/a, b", "/srv/[c]"]


@pytest.mark.parametrize("text", ['["/srv/a", "/srv/b"]', "[/srv/a, /srv/b]", " []"])
def test_a_list_in_brackets_is_refused_with_the_way_to_write_it(text: str) -> None:
    said = refusal(PERPLEX_SOURCES__ROOTS=text)
    assert text in said
    assert f"PERPLEX_SOURCES__ROOTS=/srv/papers{os.pathsep}/srv/contracts" in said


def test_hosts_and_origins_are_separated_by_commas() -> None:
    origins = "https://app.example.com, https://other.example.com:8443"
    server = load_settings(None, {"PERPLEX_SERVER__ALLOWED_ORIGINS": origins}).server
    assert server.allowed_origins == ["https://app.example.com", "https://other.example.com:8443"]


@pytest.mark.parametrize(
    ("key", "text", "word"),
    [
        ("ALLOWED_ORIGINS", "*", "would let any web site act"),
        ("ALLOWED_ORIGINS", "https://*.example.com", "would let any web site act"),
        ("ALLOWED_ORIGINS", "docs.example.com", "not an origin"),
        ("ALLOWED_ORIGINS", "https://docs.example.com/path", "not an origin"),
        ("ALLOWED_HOSTS", "*", "of a host"),
        ("ALLOWED_HOSTS", "https://docs.example.com", "of a host"),
        ("TRUSTED_PROXIES", "nginx", "trusted_proxies"),
        ("TRUSTED_PROXIES", "10.0.0.0/40", "trusted_proxies"),
    ],
)
def test_lists_that_let_everybody_in_or_match_nobody_are_refused(key: str, text: str, word: str) -> None:
    environment = {f"PERPLEX_SERVER__{key}": text}
    assert word in refusal(None, **environment)


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "[server]\nprot = 1\n"))
    assert "server.prot" in message
    assert "'server.port'" in message
    assert str(tmp_path) in message
    message = refusal(None, PERPLEX_SERVER__PROT="1")
    assert "PERPLEX_SERVER__PROT" in message
    assert "'server.port'" in message


def test_an_unknown_section_is_an_error(tmp_path: Path) -> None:
    assert "serve.port" in refusal(write(tmp_path, "[serve]\nport = 1\n"))
    assert "qqqq.zzzz" in refusal(write(tmp_path, "[qqqq]\nzzzz = 1\n"))
    assert "settings` lists all" in refusal(write(tmp_path, "[qqqq]\nzzzz = 1\n"))
    assert "outside a section" in refusal(write(tmp_path, "port = 1\n"))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("server", "port", "0"),
        ("server", "port", "65536"),
        ("server", "port", '"many"'),
        ("server", "backlog", "1"),
        ("queue", "poll_seconds", "0"),
        ("queue", "embedded_redis", '"maybe"'),
        ("embedding", "device", '"gpu"'),
        ("ocr", "min_confidence", "1.5"),
        ("limits", "max_upload_bytes", "-1"),
        ("limits", "disk_reserve_fraction", '"half"'),
        ("ingestion", "reader_memory_bytes", "1000"),
        ("logging", "level", '"LOUD"'),
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, section: str, key: str, value: str) -> None:
    assert f"{section}.{key}" in refusal(write(tmp_path, f"[{section}]\n{key} = {value}\n"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[chunking]\nmax_tokens = 40\noverlap_tokens = 21\n", "chunking.overlap_tokens"),
        ('[server]\nbase_path = "docs"\n', "server.base_path"),
        ('[telemetry]\nexporter = "otlp"\n', "telemetry.otlp_endpoint"),
        (
            '[telemetry]\notlp_endpoint = "http://ada:tide@collector:4318"\n',
            "telemetry.otlp_endpoint must hold no user",
        ),
        ("[telemetry]\nmetrics_port = 9000\n[server]\nport = 9000\n", "telemetry.metrics_port"),
    ],
)
def test_contradictions_are_found(tmp_path: Path, text: str, named: str) -> None:
    assert named in refusal(write(tmp_path, text))


def test_a_file_that_is_not_toml_or_not_there_is_told(tmp_path: Path) -> None:
    assert "not valid TOML" in refusal(write(tmp_path, "[server\n"))
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    assert "not valid TOML" in refusal(tmp_path / "config.toml")
    assert "no configuration file" in refusal(tmp_path / "other.toml")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().server.port = 1  # type: ignore[misc]  # the point


def test_the_data_directory_is_absolute() -> None:
    assert load_settings(None, {"PERPLEX_DATA__DIRECTORY": "~/somewhere"}).data_directory == Path.home() / "somewhere"
    assert Settings().data_directory.is_absolute()


def test_names_are_listed_once_each() -> None:
    names = setting_names()
    assert len(names) == len(set(names)) > 60
    assert names[0] == "server.host"


@pytest.mark.parametrize(
    ("given", "known"), [("german", "German"), ("ENGLISH", "English"), (" none ", "none"), ("None", "none")]
)
def test_a_language_is_known_in_any_case(tmp_path: Path, given: str, known: str) -> None:
    assert load_settings(write(tmp_path, f'[search]\nlanguage = "{given}"\n'), {}).search.language == known


def test_an_unknown_language_names_the_nearest_or_all() -> None:
    nearest = refusal(PERPLEX_SEARCH__LANGUAGE="Germann")
    assert "'Germann'" in nearest
    assert "'German'" in nearest
    assert "Danish" not in nearest
    everything = refusal(PERPLEX_SEARCH__LANGUAGE="Klingon")
    assert all(language in everything for language in (*STEMMED_LANGUAGES, NO_STEMMING))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('[embedding]\ndevice = "cudo"\n', "it can be auto, cuda, mps or cpu. Did you mean 'cuda'?"),
        ('[logging]\nlevel = "WARN"\n', "it can be DEBUG, INFO, WARNING or ERROR. Did you mean 'WARNING'?"),
        ('[telemetry]\nexporter = "zzz"\n', "it can be none, console or otlp."),
    ],
)
def test_a_choice_that_is_none_is_told_with_those_there_are(tmp_path: Path, line: str, told: str) -> None:
    message = refusal(write(tmp_path, line))
    assert told in message
    assert ("Did you mean" in message) is ("Did you mean" in told)


def test_every_number_has_bounds_on_both_sides() -> None:
    for section, kind in section_types().items():
        for key, hint in get_type_hints(kind, include_extras=True).items():
            if get_origin(hint) is not Annotated or hint.__origin__ not in (int, float):
                assert hint not in (int, float), f"{section}.{key} takes any number"
                continue
            bounds = [mark for mark in hint.__metadata__ if isinstance(mark, Meta)]
            assert any(mark.le is not None or mark.lt is not None for mark in bounds), f"{section}.{key}"
            assert any(mark.ge is not None or mark.gt is not None for mark in bounds), f"{section}.{key}"


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e400"])
@pytest.mark.parametrize("variable", ["PERPLEX_LIMITS__BODY_IDLE_SECONDS", "PERPLEX_INGESTION__LEASE_SECONDS"])
def test_what_is_no_number_is_refused(value: str, variable: str) -> None:
    assert "cannot work" in refusal(None, **{variable: value})

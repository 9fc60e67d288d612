"""Environment variables: secrets in files of their own, and names that would otherwise be ignored in silence."""

from pathlib import Path

import pytest

from perplex_mono.errors import ConfigurationError
from perplex_mono.settings import (
    Settings,
    load_configuration,
    load_settings,
    secret_names,
    setting_names,
    variable_name,
)
from perplex_mono.settings.environment import MAX_SECRET_BYTES, OTHER_VARIABLES

SECRET = "redis://user:hunter2@redis.example:6379/0"
FILE = "PERPLEX_QUEUE__REDIS_URL_FILE"


def refusal(**environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, environment)
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_its_file_without_the_newline_at_its_end(tmp_path: Path, end: str) -> None:
    file = tmp_path / "url"
    file.write_bytes((SECRET + end).encode())
    assert load_settings(None, {FILE: str(file)}).queue.redis_url == SECRET


def test_only_one_newline_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(" a \n\n")
    assert load_settings(None, {FILE: str(tmp_path / "url")}).queue.redis_url == " a \n"


def test_a_secret_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(SECRET)
    said = refusal(PERPLEX_QUEUE__REDIS_URL=SECRET, PERPLEX_QUEUE__REDIS_URL_FILE=str(tmp_path / "url"))
    assert f"{FILE} and PERPLEX_QUEUE__REDIS_URL are both given" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xffhunter2", "not UTF-8"),
        (b"hunter2" * MAX_SECRET_BYTES, "is larger than"),
    ],
)
def test_a_file_without_a_secret_is_refused_by_name(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "url"
    if content is not None:
        file.write_bytes(content)
    message = refusal(PERPLEX_QUEUE__REDIS_URL_FILE=str(file))
    assert said in message
    assert FILE in message
    assert str(file) in message


def test_a_folder_holds_no_secret(tmp_path: Path) -> None:
    assert "Is a directory" in refusal(PERPLEX_QUEUE__REDIS_URL_FILE=str(tmp_path))


def test_what_is_no_secret_does_not_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("9000")
    said = refusal(PERPLEX_SERVER__PORT_FILE=str(tmp_path / "port"))
    assert "no secret" in said
    assert "PERPLEX_SERVER__PORT" in said
    assert "Did you mean" in refusal(PERPLEX_SERVER__PROT_FILE="x")


def test_a_setting_whose_own_name_ends_in_file_is_itself() -> None:
    settings = load_settings(None, {"PERPLEX_AUTH__SETUP_TOKEN_FILE": "token", "PERPLEX_LOGGING__FILE": "log"})
    assert (settings.auth.setup_token_file, settings.logging.file) == ("token", "log")
    assert not [name for name in secret_names() if f"{name}_file" in setting_names()]


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("PERPLEX_SERVER_PORT", "PERPLEX_SERVER__PORT"),
        ("PERPLEX_DATA_DIRECTORY", "PERPLEX_DATA__DIRECTORY"),
        ("PERPLEX_APIKEY", "PERPLEX_API_KEY"),
    ],
)
def test_a_single_underscore_is_refused_with_the_nearest_name(given: str, nearest: str) -> None:
    said = refusal(**{given: "1"})
    assert given in said
    assert f"Did you mean {nearest}?" in said


def test_other_variables_of_the_product_are_left_alone() -> None:
    assert load_settings(None, dict.fromkeys(OTHER_VARIABLES, "x")) == Settings()


def test_what_kubernetes_tells_of_a_service_of_our_name_is_left_alone() -> None:
    service = {
        f"{name}_{kind}": "tcp://10.0.0.1:8080"
        for name in ("PERPLEX", "PERPLEX_MONO")
        for kind in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR")
    }
    assert load_settings(None, service) == Settings()
    assert "PERPLEX_SERVER_PORT" in refusal(**service, PERPLEX_SERVER_PORT="1")
    assert "PERPLEX_PORT" in refusal(PERPLEX_PORT="9000")


def test_secrets_are_not_in_the_text_form_of_settings() -> None:
    settings = load_settings(None, {variable_name(name): "hunter2" for name in secret_names()})
    assert secret_names()
    assert "hunter2" not in repr(settings)
    assert "redis_url=[redacted]" in repr(settings.queue)
    assert "redis_url=''" in repr(Settings())
    assert "hunter2" not in repr(load_configuration(None, {variable_name(name): "hunter2" for name in secret_names()}))

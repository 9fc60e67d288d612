"""Settings from environment variables: which names are ours, which are settings, and secrets in files of their own."""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from perplex_mono.errors import ConfigurationError

ENVIRONMENT_PREFIX = "PERPLEX_"
SEPARATOR = "__"
FILE_SUFFIX = "_FILE"
MAX_SECRET_BYTES = 64 * 1024

OTHER_VARIABLES = frozenset(
    {
        "PERPLEX_API_KEY",  # what commands show to a server with accounts
        "PERPLEX_API_KEY_FILE",
        "PERPLEX_FAILPOINT",  # where the fault tests end the process
        "PERPLEX_CPUS",  # what compose.yaml gives the container
        "PERPLEX_MEMORY",
        "PERPLEX_SHARED_DATA",  # where the benchmarks find documents
    }
)
"""Variables of the product that are no settings."""


def variable_name(setting: str) -> str:
    """The environment variable of `section.key`."""
    section, _, key = setting.partition(".")
    return f"{ENVIRONMENT_PREFIX}{section.upper()}{SEPARATOR}{key.upper()}"


def settings_in(
    environment: Mapping[str, str], names: Sequence[str], secrets: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    """Each setting that is given: variable, `section.key` and text; that of a secret may come from a file.

    `names` are all settings, `secrets` those of them that are secret. Raises `ConfigurationError` for a variable that
    is none of ours, a secret that is given twice, and a file that holds none.
    """
    services = _kubernetes_services(environment)
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable.startswith(tuple(services)):
            continue
        name = _setting_of(variable)
        if name in names:
            yield variable, name, text
            continue
        stem = _setting_of(variable.upper().removesuffix(FILE_SUFFIX))
        if not variable.upper().endswith(FILE_SUFFIX) or stem not in names:
            raise ConfigurationError(_unknown(variable, name, names))
        if stem not in secrets:
            raise ConfigurationError(
                f"{variable}: {stem} is no secret, so it cannot come from a file; set {variable_name(stem)} itself."
            )
        if variable_name(stem) in (other.upper() for other in environment):
            raise ConfigurationError(f"{variable} and {variable_name(stem)} are both given; keep one of them.")
        yield variable, stem, _secret_in(variable, text)


def _setting_of(variable: str) -> str:
    section, _, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition(SEPARATOR)
    return f"{section}.{key}" if key else ""


def _unknown(variable: str, name: str, names: Sequence[str]) -> str:
    if name:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'?" if near else "`perplex-mono settings` lists all."
        return f"Unknown setting '{name}' in environment variable {variable}. {hint}"
    known = [*map(variable_name, names), *OTHER_VARIABLES]
    near = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else "`perplex-mono settings` lists all."
    return (
        f"Unknown environment variable {variable}: section and key of a setting stand apart by two underscores,"
        f" as in {variable_name(names[0])}. {hint}"
    )


def _secret_in(variable: str, file: str) -> str:
    """What the file holds, without the newline at its end. No message shows any of it."""
    try:
        with Path(file).expanduser().open("rb") as opened:
            content = opened.read(MAX_SECRET_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise ConfigurationError(
            f"{variable}: '{file}' cannot be read ({error.strerror}); name a file that holds the value alone."
        ) from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{variable}: '{file}' is not UTF-8 text; it must hold the value alone.") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ConfigurationError(f"{variable}: '{file}' is larger than {MAX_SECRET_BYTES} bytes; is it the right file?")
    value = text.removesuffix("\n").removesuffix("\r")
    if not value.strip():
        raise ConfigurationError(f"{variable}: '{file}' is empty; it must hold the value alone.")
    return value


def _kubernetes_services(environment: Mapping[str, str]) -> list[str]:
    """How variables begin by which Kubernetes tells of services: those of one named `perplex` look like ours."""
    names = [name.removesuffix("_SERVICE_HOST") for name in environment if name.endswith("_SERVICE_HOST")]
    found = [name for name in names if f"{name}_SERVICE_PORT" in environment]
    return [f"{name}_{kind}" for name in found for kind in ("SERVICE_", "PORT")]

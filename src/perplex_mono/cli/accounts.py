"""`perplex-mono user` and `perplex-mono key`: what they print, and where passwords come from."""

import sys
from pathlib import Path
from typing import cast

import click
import msgspec
from rich.table import Table

from perplex_mono.accounts.schemas import FirstUser, KeyView, Login, NewKey, NewUser, UserChanges, UserView
from perplex_mono.cli.account_backends import Accounts
from perplex_mono.cli.backend import open_backend
from perplex_mono.cli.paging import all_items
from perplex_mono.cli.plain_text import one_line
from perplex_mono.cli.terminal import notices, results, write_json
from perplex_mono.errors import InvalidInput, NotFound
from perplex_mono.settings import Settings
from perplex_mono.web.callers import Scope


def read_password(file: str | None, *, is_new: bool = True) -> str:
    """From a file, from standard input for '-', or asked for, a new one twice. Raises `InvalidInput`."""
    if file is None:
        password: str = click.prompt("Password", hide_input=True, confirmation_prompt=is_new, err=True)
        return password
    return read_secret(file)


def read_secret(file: str) -> str:
    """The first line of a file, or of standard input for '-'. Raises `InvalidInput`."""
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"'{file}' cannot be read: {error}") from error
    return text.splitlines()[0] if text else ""


def read_login(name: str | None, password_file: str | None) -> Login | None:
    """Who logs in for a command, if anybody. Raises `InvalidInput`."""
    return None if name is None else Login(name, read_password(password_file, is_new=False))


async def set_up(settings: Settings, server: str | None, first: FirstUser, *, may_ask: bool, as_json: bool) -> int:
    """Make the first user; the exit code. A closed server's token is asked for if that is allowed."""
    async with open_backend(settings, server) as backend:
        if may_ask and await backend.accounts.needs_token():
            token = click.prompt("Set-up token (setup_code in the server's log)", hide_input=True, err=True)
            first = msgspec.structs.replace(first, token=token.strip())
        return _told(await backend.accounts.set_up(first), as_json=as_json)


async def add_user(settings: Settings, server: str | None, new: NewUser, *, as_json: bool) -> int:
    """Make a user; the exit code."""
    async with open_backend(settings, server) as backend:
        return _told(await backend.accounts.add_user(new), as_json=as_json)


async def change_user(settings: Settings, server: str | None, name: str, changes: UserChanges, *, as_json: bool) -> int:
    """Change a user given by name; the exit code."""
    async with open_backend(settings, server) as backend:
        user = await _find(backend.accounts, name)
        return _told(await backend.accounts.change_user(user.id, changes), as_json=as_json)


async def list_users(settings: Settings, server: str | None, *, as_json: bool) -> int:
    """Print the users; the exit code."""
    async with open_backend(settings, server) as backend:
        found = await all_items(backend.accounts.users)
    if as_json:
        write_json({"items": found})
    elif found:
        results().print(_user_table(found))
    else:
        results().print("There are no users: the server is in local mode, or closed.")
    return 0


async def add_key(settings: Settings, server: str | None, new: NewKey, login: Login | None, *, as_json: bool) -> int:
    """Make an API key, after `login` if given, and print its secret, which is shown this once; the exit code."""
    async with open_backend(settings, server) as backend, backend.accounts.logged_in(login):
        made = await backend.accounts.add_key(new)
    if as_json:
        write_json(made)
        return 0
    notices().print(f"The key '{one_line(made.key.name)}' ({made.key.id}); it is shown this once:", markup=False)
    results().print(made.secret, markup=False, soft_wrap=True)
    return 0


async def list_keys(settings: Settings, server: str | None, *, as_json: bool) -> int:
    """Print the caller's API keys; the exit code."""
    async with open_backend(settings, server) as backend:
        found = await all_items(backend.accounts.keys)
    if as_json:
        write_json({"items": found})
    elif found:
        results().print(_key_table(found))
    else:
        results().print("There are no API keys.")
    return 0


async def revoke_key(settings: Settings, server: str | None, key_id: str, login: Login | None) -> int:
    """End an API key, after `login` if given; the exit code."""
    async with open_backend(settings, server) as backend, backend.accounts.logged_in(login):
        await backend.accounts.revoke_key(key_id)
    results().print("Revoked; it is refused from now on.")
    return 0


def scopes_of(given: tuple[str, ...]) -> list[Scope]:
    """The scopes as typed, 'read' alone when none was."""
    return [cast(Scope, name) for name in dict.fromkeys(given or ("read",))]


async def _find(accounts: Accounts, name: str) -> UserView:
    for user in await all_items(accounts.users):
        if name == user.id or name.casefold() == user.name.casefold():
            return user
    raise NotFound("user", name)


def _told(user: UserView, *, as_json: bool) -> int:
    if as_json:
        write_json(user)
    else:
        state = "disabled" if user.is_disabled else user.role
        results().print(f"{one_line(user.name)} ({user.id}): {state}", markup=False, soft_wrap=True)
    return 0


def _user_table(users: list[UserView]) -> Table:
    table = Table("Name", "Role", "State", "Since", "Id")
    for user in users:
        state = "disabled" if user.is_disabled else "active"
        table.add_row(one_line(user.name), user.role, state, f"{user.created_at:%Y-%m-%d}", user.id)
    return table


def _key_table(keys: list[KeyView]) -> Table:
    table = Table("Name", "Scopes", "Last used", "Expires", "Id")
    for key in keys:
        used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
        expires = f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "never"
        table.add_row(one_line(key.name), ", ".join(key.scopes), used, expires, key.id)
    return table

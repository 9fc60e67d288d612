"""The commands for users and API keys."""

import click

from perplex_mono.cli.invocation import Invocation
from perplex_mono.cli.options import exit_with, json_option, server_option

password_option = click.option(
    "--password-file", metavar="FILE", help="Read the password from a file, '-' for standard input.  [default: ask]"
)

# A key makes and ends no keys: what was made with a leaked one would outlive it.
login_option = click.option("--login", metavar="NAME", help="Whose key it is; a running server asks for the password.")


@click.group(short_help="Users: setup, add, list, change.")
def user() -> None:
    """Users of the server.

    A server without users is in local mode, for this machine alone, or closed when it is bound elsewhere. The first
    user is an administrator and gets what local mode had. With a running server these commands need an API key of an
    administrator in PERPLEX_API_KEY; without one they work on the data directory.

    \b
    Examples:
      perplex-mono user setup ada
      perplex-mono user add bob
      perplex-mono user list
    """


@user.command(short_help="Make the first user.")
@click.argument("name")
@click.option(
    "--token-file",
    metavar="FILE",
    help="Read the set-up token of a closed server, which its log shows as setup_code, from a file, '-' for standard"
    " input.  [default: ask, where the password is asked for]",
)
@password_option
@server_option
@json_option
@click.pass_obj
def setup(
    invocation: Invocation,
    name: str,
    token_file: str | None,
    password_file: str | None,
    server: str | None,
    as_json: bool,
) -> None:
    """Make the first user, an administrator. From then on everybody logs in or sends an API key.

    With '-' for both files the token is the first line of standard input, the password the second.

    \b
    Examples:
      perplex-mono user setup ada
      perplex-mono user setup ada --server https://docs.example.com --token-file token.txt
    """
    from perplex_mono.accounts.schemas import FirstUser
    from perplex_mono.cli.accounts import read_password, read_secret, set_up

    token = read_secret(token_file) if token_file else ""
    first = FirstUser(name=name, password=read_password(password_file), token=token)
    may_ask = token_file is None and password_file is None
    exit_with(invocation.run(set_up(invocation.settings(), server, first, may_ask=may_ask, as_json=as_json)))


@user.command("add", short_help="Make a user.")
@click.argument("name")
@click.option("--admin", is_flag=True, help="Make it an administrator.")
@password_option
@server_option
@json_option
@click.pass_obj
def add_(
    invocation: Invocation, name: str, admin: bool, password_file: str | None, server: str | None, as_json: bool
) -> None:
    """Make a user, with a collection of its own.

    \b
    Examples:
      perplex-mono user add bob
      perplex-mono user add carl --admin --password-file secret.txt
    """
    from perplex_mono.accounts.schemas import NewUser
    from perplex_mono.cli.accounts import add_user, read_password

    new = NewUser(name=name, password=read_password(password_file), role="admin" if admin else "user")
    exit_with(invocation.run(add_user(invocation.settings(), server, new, as_json=as_json)))


@user.command("list", short_help="List the users.")
@server_option
@json_option
@click.pass_obj
def list_(invocation: Invocation, server: str | None, as_json: bool) -> None:
    """List the users by name.

    \b
    Examples:
      perplex-mono user list
    """
    from perplex_mono.cli.accounts import list_users

    exit_with(invocation.run(list_users(invocation.settings(), server, as_json=as_json)))


@user.command("change", short_help="Change a user's role or password, or keep it out.")
@click.argument("name", metavar="NAME_OR_ID")
@click.option("--role", type=click.Choice(("admin", "user")), help="What it may do.")
@click.option("--disable/--enable", default=None, help="Keep it out, its logins and keys ended; or let it in again.")
@click.option("--password", "new_password", is_flag=True, help="Give it another password; its logins end.")
@password_option
@server_option
@json_option
@click.pass_obj
def change(
    invocation: Invocation,
    name: str,
    role: str | None,
    disable: bool | None,
    new_password: bool,
    password_file: str | None,
    server: str | None,
    as_json: bool,
) -> None:
    """Change a user. Whatever takes a right away holds at once.

    \b
    Examples:
      perplex-mono user change bob --role admin
      perplex-mono user change bob --disable
      perplex-mono user change bob --password
    """
    from msgspec import UNSET

    from perplex_mono.accounts.schemas import UserChanges
    from perplex_mono.cli.accounts import change_user, read_password

    if role is None and disable is None and not new_password and password_file is None:
        raise click.UsageError("Say what to change: --role, --disable, --enable or --password.")
    changes = UserChanges(
        role=UNSET if role is None else "admin" if role == "admin" else "user",
        is_disabled=UNSET if disable is None else disable,
        password=read_password(password_file) if new_password or password_file is not None else UNSET,
    )
    exit_with(invocation.run(change_user(invocation.settings(), server, name, changes, as_json=as_json)))


@click.group(short_help="API keys: create, list, revoke.")
def key() -> None:
    """API keys: credentials for programs, and for this command line, which takes one from PERPLEX_API_KEY.

    With a running server, making and ending one takes a login, and the list is that of whoever the key in
    PERPLEX_API_KEY belongs to; without a server they are those of the first user.

    \b
    Examples:
      perplex-mono key create backup-script --scope read --login ada
      perplex-mono key list
    """


@key.command(short_help="Make an API key.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(("read", "write", "admin")),
    help="What it is good for; may be repeated.  [default: read]",
)
@login_option
@password_option
@click.option("--expires-in-days", type=click.IntRange(1, 3650), help="When it ends by itself.  [default: never]")
@server_option
@json_option
@click.pass_obj
def create(
    invocation: Invocation,
    name: str,
    scopes: tuple[str, ...],
    login: str | None,
    password_file: str | None,
    expires_in_days: int | None,
    server: str | None,
    as_json: bool,
) -> None:
    """Make an API key and print it, this once.

    \b
    Examples:
      perplex-mono key create laptop --scope read --scope write --login ada
      perplex-mono key create backup --scope admin --expires-in-days 365 --login ada
    """
    from perplex_mono.accounts.schemas import NewKey
    from perplex_mono.cli.accounts import add_key, read_login, scopes_of

    new = NewKey(name=name, scopes=scopes_of(scopes), expires_in_days=expires_in_days)
    by = read_login(login, password_file)
    exit_with(invocation.run(add_key(invocation.settings(), server, new, by, as_json=as_json)))


@key.command("list", short_help="List API keys.")
@server_option
@json_option
@click.pass_obj
def list_keys_(invocation: Invocation, server: str | None, as_json: bool) -> None:
    """List API keys, without their secrets.

    \b
    Examples:
      perplex-mono key list --json
    """
    from perplex_mono.cli.accounts import list_keys

    exit_with(invocation.run(list_keys(invocation.settings(), server, as_json=as_json)))


@key.command(short_help="End an API key.")
@click.argument("key_id", metavar="ID")
@login_option
@password_option
@server_option
@click.pass_obj
def revoke(
    invocation: Invocation, key_id: str, login: str | None, password_file: str | None, server: str | None
) -> None:
    """End an API key, at once.

    \b
    Examples:
      perplex-mono key revoke 0199f0a1-7c2e-7d1a-9b1e-3f0c2a1b4c5d --login ada
    """
    from perplex_mono.cli.accounts import read_login, revoke_key

    by = read_login(login, password_file)
    exit_with(invocation.run(revoke_key(invocation.settings(), server, key_id, by)))

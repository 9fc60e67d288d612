"""The commands for backups: making one, and putting one in the place of a library."""

from pathlib import Path

import click

from perplex_mono.cli.invocation import Invocation
from perplex_mono.cli.options import exit_with, json_option, server_option


@click.command(short_help="Save the whole library in one file, while it is in use.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--include-secrets", is_flag=True, help="With password hashes, API keys and key files. Guard the file.")
@server_option
@json_option
@click.pass_obj
def backup(invocation: Invocation, file: Path, include_secrets: bool, server: str | None, as_json: bool) -> None:
    """Save the whole library in FILE (a new one; in a folder it gets a name with the date).

    Uploads, searches and deletions go on meanwhile; the backup has everything that was acknowledged before it began.
    The server makes it in its own folder (setting backups.directory) and keeps it there until FILE has it. FILE
    appears when it was read back to its last byte. With --json: path, and backup as GET /api/v1/backups/{id} has it.

    \b
    Examples:
      perplex-mono backup /mnt/backups
      perplex-mono backup library.tar --json
    """
    from perplex_mono.cli.backup import save_backup

    settings = invocation.settings()
    exit_with(invocation.run(save_backup(settings, server, file, include_secrets=include_secrets, as_json=as_json)))


@click.command(short_help="Put a backup in the place of the library; the server must be stopped.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE")
@click.option("--data", metavar="DIR", help="Where to restore to.  [setting: data.directory]")
@click.option("--yes", is_flag=True, help="Do not ask before taking the place of a library.")
@click.option("--check", is_flag=True, help="Only read FILE to its last byte and say whether it is whole.")
@json_option
@click.pass_obj
def restore(invocation: Invocation, file: Path, data: str | None, yes: bool, check: bool, as_json: bool) -> None:
    """Put the backup FILE in the place of the library, all of it or nothing.

    It is unpacked beside the library, its index is built, and the doctor examines all of it, before anything is
    swapped; the library that was there is kept, and the last line says where. A restore that is killed leaves the old
    library or the new one, never a mixture. A backup that is damaged or of a newer version is refused.

    With --json: backup_id, created_at, counts, needed_models (beside the installation's), data_directory, kept_aside.

    \b
    Examples:
      perplex-mono restore --check library.tar
      perplex-mono restore library.tar
      perplex-mono restore library.tar --data /srv/perplex --yes
    """
    from perplex_mono.cli.restore import check_backup, restore_backup

    if check:
        exit_with(invocation.run(check_backup(file, as_json=as_json)))
    settings = invocation.settings({"data.directory": data})
    exit_with(invocation.run(restore_backup(settings, file, is_confirmed=yes, as_json=as_json)))

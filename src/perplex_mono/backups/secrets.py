"""What of a library is secret, and therefore not in a backup unless somebody asks for it.

Files need no rule to stay out: a backup holds the database, originals and models, and besides only what is named here.
"""

from typing import Final

from sqlalchemy import column, delete, inspect, table, update
from sqlmodel.ext.asyncio.session import AsyncSession

# Emptied in every backup: whoever restores one must not become somebody who was logged in when it was made.
NEVER_KEPT_TABLES: Final = ("sessions",)
# Emptied unless secrets are asked for: without its hash a key opens nothing.
SECRET_TABLES: Final = ("api_keys",)
# Overwritten unless secrets are asked for, by what is the hash of nothing (as in passwd(5)).
SECRET_COLUMNS: Final = {"users": ("password_hash",)}
NO_HASH: Final = "!"
# Files of the data directory that are added if secrets are asked for: the key of what is stored encrypted, where there
# is one. The set-up token is good once, and in no backup.
SECRET_FILES: Final = ("secret.key",)


async def remove_secrets(session: AsyncSession, *, keeps_secrets: bool) -> None:
    """Take them out of the database of this session, down to the bytes; tables that are not there are no error."""
    connection = await session.connection()
    await connection.exec_driver_sql("PRAGMA secure_delete=ON")
    present = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
    emptied = NEVER_KEPT_TABLES if keeps_secrets else (*NEVER_KEPT_TABLES, *SECRET_TABLES)
    for name in emptied:
        if name in present:
            await connection.execute(delete(table(name)))
    overwritten = {} if keeps_secrets else SECRET_COLUMNS
    for name, columns in overwritten.items():
        if name in present:
            await connection.execute(update(table(name, *map(column, columns))).values(dict.fromkeys(columns, NO_HASH)))

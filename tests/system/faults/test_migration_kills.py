"""kill -9 while the database is brought up to a new version: the next start goes on from where that was."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine

from perplex_mono.storage.database import alembic_config
from tests.server_process import ServerProcess
from tests.system.faults.promises import Promises, require_sound
from tests.system.faults.samples import text_file
from tests.system.faults.table import FaultTable

OLD = "0002"
STEPS = len(list((Path(__file__).parents[3] / "migrations" / "versions").glob("0*.py"))) - int(OLD)


def _make_old(path: Path) -> None:
    """A database as the second version left it."""
    path.parent.mkdir(mode=0o700)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, OLD)
    engine.dispose()


def _revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(revision)


def _make_unshrinkable(path: Path) -> None:
    """As versions made it that never gave free pages back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute("PRAGMA auto_vacuum=NONE")
        database.execute("VACUUM")


def _can_shrink(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        return bool(database.execute("PRAGMA auto_vacuum").fetchone()[0])


def test_a_database_whose_rewriting_is_killed_is_whole_and_rewritten_at_the_next_start(
    server: ServerProcess, faults: FaultTable
) -> None:
    fault, promises, sample = faults.fault("kill -9 while the database is rewritten"), Promises(server), text_file(1)
    database = server.data / "perplex.db"
    server.start()
    promises.upload(sample)
    promises.settle()
    assert server.stop() == 0
    _make_unshrinkable(database)
    server.launch(PERPLEX_FAILPOINT="before_database_rewritten")
    assert server.wait_end() == -signal.SIGKILL
    assert not _can_shrink(database)
    fault.recovered(promises.recover())
    assert _can_shrink(database)
    assert not list(server.data.glob("perplex.db.rewritten*"))
    fault.rounds += 1
    promises.require_kept(fault)


@pytest.mark.parametrize(
    "step", [1, STEPS, *(pytest.param(step, marks=pytest.mark.faults) for step in range(2, STEPS))]
)
def test_a_killed_migration_is_done_again_from_where_the_database_was(
    server: ServerProcess, faults: FaultTable, step: int
) -> None:
    fault = faults.fault("kill -9 during a migration")
    database = server.data / "perplex.db"
    _make_old(database)
    server.launch(PERPLEX_FAILPOINT=f"mid_migration:{step}")
    assert server.wait_end() == -signal.SIGKILL
    assert _revision(database) == f"{int(OLD) + step - 1:04}", "what was killed is undone, what was before it stays"
    server.start()
    server.wait_ready()
    accepted = server.upload(("tide.txt", b"The tide turns twice a day."))
    assert server.wait_operation(accepted["operation_id"])["state"] == "completed"
    assert server.stop() == 0
    require_sound(server)
    fault.rounds += 1

"""A statement is known by what it does and by the first of our tables it names; nothing else becomes a label."""

import pytest

import perplex_mono.library.models
import perplex_mono.operations.models  # noqa: F401  # what knows the tables
from perplex_mono.storage.metrics import labels_of


@pytest.mark.parametrize(
    ("statement", "labels"),
    [
        ("SELECT documents.id FROM documents WHERE documents.id = ?", ("select", "documents")),
        ("INSERT INTO chunks (id) VALUES (?) ON CONFLICT DO NOTHING", ("insert", "chunks")),
        ("UPDATE operations SET state=? WHERE operations.id = ?", ("update", "operations")),
        ("DELETE FROM events WHERE events.seq < ?", ("delete", "events")),
        ('SELECT count(*) FROM "pages"', ("select", "pages")),
        ("SELECT x.id FROM (SELECT id FROM operations) AS x", ("select", "operations")),
        ("WITH old AS (SELECT 1)\nDELETE FROM documents", ("delete", "documents")),
        ("select 1", ("select", "other")),
        ("UPDATE heartbeat SET beat = beat + 1", ("update", "heartbeat")),
        ("SELECT * FROM sqlite_master", ("select", "other")),
        ("BEGIN IMMEDIATE", ("other", "other")),
        ("PRAGMA integrity_check", ("other", "other")),
        ("CREATE TABLE made_up (id TEXT)", ("other", "other")),
        ("", ("other", "other")),
    ],
)
def test_labels_of(statement: str, labels: tuple[str, str]) -> None:
    assert labels_of(statement) == labels

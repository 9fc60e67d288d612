"""Deleted rows leave the files of a vector table: Lance only marks them, and tidies a file when many rows are."""

import time
from pathlib import Path

from lancedb import AsyncTable

from perplex_mono.storage import vector_indexes as indexes
from perplex_mono.text_languages import NO_STEMMING


def oldest_deletion_seconds(table_folder: Path) -> float | None:
    """Age of the oldest list of deleted rows that any kept version has; None when there is none."""
    changed = [path.stat().st_mtime for path in table_folder.glob("_deletions/*")]
    return max(0.0, time.time() - min(changed)) if changed else None


async def rewrite_rows(table: AsyncTable) -> None:
    """Write every living row anew, and the text index over them with the settings it has.

    An update of all rows leaves none in the old files, which go with the old versions.
    """
    found = {index.name: index for index in await table.list_indices()}
    details = found[indexes.TEXT_INDEX].index_details or {}
    language = str(details.get("language", "English")) if details.get("stem") else NO_STEMMING
    await table.update(updates_sql={"document_id": "document_id"})
    await table.create_index("text", config=indexes.text_index(language), name=indexes.TEXT_INDEX, replace=True)

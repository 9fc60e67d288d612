"""The doctor: proves on a data directory at rest that what was promised holds, and mends what is derived."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from perplex_mono.configuration.service import held_overrides
from perplex_mono.doctor.deletions import DeletionChecks
from perplex_mono.doctor.index import IndexChecks
from perplex_mono.doctor.originals import OriginalChecks
from perplex_mono.doctor.records import RecordChecks
from perplex_mono.doctor.schemas import Check, Finding, FindingView, Report
from perplex_mono.errors import InvalidInput
from perplex_mono.operations.events import EventBus
from perplex_mono.operations.ledger import Ledger
from perplex_mono.settings import Settings
from perplex_mono.settings.loading import with_overrides
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.data_directory import DataDirectory
from perplex_mono.storage.database import Database
from perplex_mono.storage.vectors import VectorStore

OnCheck = Callable[[str], None]
BEYOND_REPAIR = "not repaired: this needs a person"


class Doctor:
    """Examines an opened data directory that nobody works in."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks

    async def examine(self, on_check: OnCheck) -> Report:
        """Run every check; `on_check` is told of each before it runs."""
        found = await self._find(on_check)
        return self._report(found, [None] * len(found), is_healthy=not found)

    async def repair(self, on_check: OnCheck) -> Report:
        """Examine, mend what can be mended, and examine again: `healthy` says what the second look found."""
        found = await self._find(on_check)
        outcomes = [BEYOND_REPAIR if finding.mend is None else await finding.mend() for _, finding in found]
        return self._report(found, outcomes, is_healthy=not found or not await self._find(on_check))

    async def _find(self, on_check: OnCheck) -> list[tuple[Check, Finding]]:
        found: list[tuple[Check, Finding]] = []
        for check in self._checks:
            on_check(check.name)
            found += [(check, finding) for finding in await check.look()]
        return found

    def _report(
        self, found: Sequence[tuple[Check, Finding]], outcomes: Sequence[str | None], *, is_healthy: bool
    ) -> Report:
        views = [
            FindingView(finding.check, finding.subject, finding.problem, check.means, finding.mend is not None, outcome)
            for (check, finding), outcome in zip(found, outcomes, strict=True)
        ]
        return Report(is_healthy, [check.name for check in self._checks], views)


@asynccontextmanager
async def open_doctor(settings: Settings) -> AsyncIterator[Doctor]:
    """A doctor for the data directory of the settings, which is locked meanwhile.

    Raises `InvalidInput` where there is no library, `Conflict` when a process works in it.
    """
    path = settings.data_directory
    if not (path / DataDirectory(path).database.name).is_file():
        raise InvalidInput(f"There is no library in '{path}'; `perplex-mono serve` makes one.")
    async with AsyncExitStack() as stack:
        directory = DataDirectory(path).open()
        stack.callback(directory.close)
        database = Database(directory.database)
        stack.push_async_callback(database.close)
        damage = await database.damage()
        if damage:
            yield Doctor([_sound_file([Finding("database", "perplex.db", text) for text in damage])])
            return
        await database.migrate()
        settings = with_overrides(settings, await held_overrides(settings, database))
        blobs = BlobStore(directory.blobs, reserve_bytes=0, reserve_fraction=0.0)
        vectors = await VectorStore.open(directory.vectors, fts_language=settings.search.language)
        stack.push_async_callback(vectors.close)
        ledger = Ledger(
            database,
            EventBus(),
            lease_seconds=settings.ingestion.lease_seconds,
            max_attempts=settings.ingestion.max_attempts,
        )
        records, originals = RecordChecks(database, ledger, blobs), OriginalChecks(database, blobs)
        index, deletions = IndexChecks(database, vectors), DeletionChecks(database, ledger)
        yield Doctor([_sound_file([]), *_checks(records, originals, index, deletions)])


def _checks(
    records: RecordChecks, originals: OriginalChecks, index: IndexChecks, deletions: DeletionChecks
) -> Iterator[Check]:
    yield Check(
        "operations: nothing waits for work that nobody does",
        records.abandoned_documents,
        "These documents would be 'processing' for ever, and are not found.",
    )
    yield Check(
        "operations: whatever runs holds a lease, and nothing else does",
        records.mislaid_leases,
        "Nobody might take these up, or somebody might work at what has ended.",
    )
    yield Check(
        "operations: every deletion will be finished",
        deletions.unfinished,
        "They are hidden from everybody, but their bytes stay on the disk.",
    )
    yield Check(
        "originals: every file is whole",
        originals.damaged,
        "They are found and quoted still, but cannot be downloaded, shown or read again.",
    )
    yield Check(
        "originals: no file belongs to nobody",
        originals.unreferenced,
        "They take space, nothing else: an upload ended before it was answered.",
    )
    yield Check(
        "pages: every stored page can be read",
        records.broken_pages,
        "These pages cannot be shown, and another index would be made without them.",
    )
    yield Check(
        "pages: every ready document has all of them",
        records.missing_pages,
        "These pages cannot be shown, and another index would be made without them.",
    )
    yield Check(
        "chunks: every ready document has all of them",
        records.incomplete_chunks,
        "An index that is built anew would lack parts of these documents.",
    )
    yield Check(
        "chunks: every ready document is in its collection's index",
        records.unindexed_documents,
        "No search finds these documents.",
    )
    yield Check(
        "index: every table opened as it was left",
        index.moved_aside,
        "The disk or a power loss harmed the index; searches may miss what came last.",
    )
    yield Check(
        "index: exactly the chunks of ready documents, once each",
        index.differing,
        "Searches miss passages, find them twice, or find what was deleted.",
    )
    yield Check("index: no table belongs to nobody", index.unreferenced, "They take space, nothing else.")


def _sound_file(findings: list[Finding]) -> Check:
    async def look() -> list[Finding]:
        return findings

    means = "Records may be lost. Keep a copy of the data directory, then restore a backup."
    return Check("database: a sound file", look, means)

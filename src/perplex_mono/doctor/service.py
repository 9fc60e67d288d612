"""The doctor: proves on a data directory at rest that what was promised holds, and mends what is derived."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from perplex_mono.configuration.service import held_overrides
from perplex_mono.doctor.deletions import DeletionChecks
from perplex_mono.doctor.index import IndexChecks
from perplex_mono.doctor.originals import OriginalChecks
from perplex_mono.doctor.records import RecordChecks
from perplex_mono.doctor.schemas import Finding, FindingView, Report
from perplex_mono.errors import InvalidInput
from perplex_mono.operations.events import EventBus
from perplex_mono.operations.ledger import Ledger
from perplex_mono.settings import Settings
from perplex_mono.settings.loading import with_overrides
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.data_directory import DataDirectory
from perplex_mono.storage.database import Database
from perplex_mono.storage.vectors import VectorStore

Check = Callable[[], Awaitable[list[Finding]]]
OnCheck = Callable[[str], None]
BEYOND_REPAIR = "not repaired: this needs a person"


class Doctor:
    """Examines an opened data directory that nobody works in."""

    def __init__(self, checks: Sequence[tuple[str, Check]]) -> None:
        self._checks = checks

    async def examine(self, on_check: OnCheck) -> Report:
        """Run every check; `on_check` is told of each before it runs."""
        return self._report(await self._find(on_check))

    async def repair(self, on_check: OnCheck) -> Report:
        """Examine, mend what can be mended, and examine again: `healthy` says what the second look found."""
        findings = await self._find(on_check)
        outcomes: list[str | None] = [
            BEYOND_REPAIR if finding.mend is None else await finding.mend() for finding in findings
        ]
        left = await self._find(on_check) if findings else []
        return self._report(findings, outcomes, left)

    async def _find(self, on_check: OnCheck) -> list[Finding]:
        findings: list[Finding] = []
        for name, check in self._checks:
            on_check(name)
            findings += await check()
        return findings

    def _report(
        self, findings: list[Finding], outcomes: list[str | None] | None = None, left: list[Finding] | None = None
    ) -> Report:
        said = outcomes or [None for _ in findings]
        views = [
            FindingView(finding.check, finding.subject, finding.problem, finding.mend is not None, outcome)
            for finding, outcome in zip(findings, said, strict=True)
        ]
        return Report(not (findings if left is None else left), [name for name, _ in self._checks], views)


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
            yield Doctor([("database", _told([Finding("database", "perplex.db", text) for text in damage]))])
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
        yield Doctor(
            [
                ("database: a sound file", _told([])),
                ("operations: nothing waits for work that nobody does", records.abandoned_documents),
                ("operations: every deletion will be finished", deletions.unfinished),
                ("originals: every file is whole", originals.damaged),
                ("originals: no file belongs to nobody", originals.unreferenced),
                ("pages: every stored page can be read", records.broken_pages),
                ("pages: every ready document has all of them", records.missing_pages),
                ("chunks: every ready document has all of them", records.incomplete_chunks),
                ("chunks: every ready document is in its collection's index", records.unindexed_documents),
                ("index: every table opened as it was left", index.moved_aside),
                ("index: exactly the chunks of ready documents, once each", index.differing),
                ("index: no table belongs to nobody", index.unreferenced),
            ]
        )


def _told(findings: list[Finding]) -> Check:
    async def check() -> list[Finding]:
        return findings

    return check

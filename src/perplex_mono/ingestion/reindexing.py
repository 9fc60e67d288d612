"""The `reindex` operation: a second index is filled from stored pages beside the active one, then takes its place.

Searches go on in the active index until the last ready document is in the new one; the switch is one transaction.
What becomes ready meanwhile is caught up with; what is being ingested at the switch goes into the new index.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from perplex_mono.ingestion.bundles import BundleIndexer, divide
from perplex_mono.ingestion.targets import IndexTarget, IndexTargets
from perplex_mono.library.index_repository import IndexRepository
from perplex_mono.library.models import Collection, Document, SearchIndex
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.progress import ProgressMeter
from perplex_mono.storage.database import Database
from perplex_mono.telemetry.failpoints import failpoint
from perplex_mono.telemetry.waiting import in_turn

LISTED_DOCUMENTS = 256
CONCURRENT_BUNDLES = 3


class ReindexHandler:
    """Runs `reindex` operations. What an index holds is in its entries, so an interrupted one simply goes on."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        targets: IndexTargets,
        bundles: BundleIndexer,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._targets = targets
        self._bundles = bundles
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, claim: Claim) -> None:
        """Fill the index until it holds every ready document, then make it the active one.

        One at a time for each index: of two that were asked for, the second finds what the first left to do.
        """
        async with in_turn(self._turns[str(claim.params["index_id"])]):
            index = await self._wanted_index(claim)
            if index is None:
                await self._ledger.complete(claim, summary={"reason": "the index is not wanted any more"})
            else:
                await self._build(claim, index)

    async def _build(self, claim: Claim, index: SearchIndex) -> None:
        target = await self._targets.open(index)
        async with self._database.read() as session:
            done, total = await IndexRepository(session).count_pages(index)
        meter = ProgressMeter(partial(self._ledger.record_progress, claim), unit="pages", done=done, total=total)
        async with meter.recording():
            while not await self._switch(claim, index.id):
                await self._fill(claim, target, meter)
        await self._ledger.complete(claim, summary={"index_id": index.id})

    async def _fill(self, claim: Claim, target: IndexTarget, meter: ProgressMeter) -> None:
        """Add what the index lacks now, a few bundles of documents at a time."""
        places = asyncio.Semaphore(CONCURRENT_BUNDLES)

        async def add(bundle: Sequence[Document]) -> None:
            async with places:
                await self._bundles.add(claim, bundle, target, meter)

        async with self._database.read() as session:
            repository = IndexRepository(session)
            documents = await repository.list_missing(target.index, LISTED_DOCUMENTS)
            _, total = await repository.count_pages(target.index)
        meter.expect(total - meter.total)
        try:
            async with asyncio.TaskGroup() as group:
                for bundle in divide(documents):
                    group.create_task(add(bundle))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _switch(self, claim: Claim, index_id: str) -> bool:
        """Make the index the active one if it lacks nothing, at once; True when nothing is left to do."""
        failpoint("before_switch")
        async with self._ledger.fenced(claim) as (session, _):
            index = await IndexRepository(session).find(index_id)
            collection = await session.get(Collection, claim.collection_id)
            if index is None or collection is None or not _is_wanted(collection, index):
                return True
            if await IndexRepository(session).count_missing(index):
                return False
            if index.state == "building":
                await IndexRepository(session).make_active(collection, index)
            collection.fallback_index_id = None
        failpoint("after_switch")
        return True

    async def _wanted_index(self, claim: Claim) -> SearchIndex | None:
        async with self._database.read() as session:
            collection = await session.get(Collection, claim.collection_id)
            index = await IndexRepository(session).find(str(claim.params["index_id"]))
        return index if index is not None and collection is not None and _is_wanted(collection, index) else None


def _is_wanted(collection: Collection, index: SearchIndex) -> bool:
    """Whether the index is to be filled: for the first time, or because it is searched again and lacks something."""
    is_living = collection.deleted_at is None
    return is_living and (index.state == "building" or collection.active_index_id == index.id)

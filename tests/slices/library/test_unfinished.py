"""When an operation gives up, its documents say so instead of waiting for ever."""

from perplex_mono.library.collections import CollectionService
from perplex_mono.library.models import Document
from perplex_mono.library.requeueing import settle_unfinished
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.service import OperationService
from perplex_mono.storage.database import Database


async def test_documents_of_an_operation_that_gave_up_fail_with_its_reason(
    database: Database, ledger: Ledger, operations: OperationService, collections: CollectionService
) -> None:
    ledger.on_stopped(settle_unfinished)
    await collections.ensure_default("local")
    collection = await collections.get("default", "local")
    async with database.write() as session:
        operation = await ledger.enqueue(
            session, owner_id="local", kind="ingest", collection_id=collection.id, total=3, unit="pages"
        )
        for number, status in enumerate(("ready", "processing", "received")):
            session.add(
                Document(
                    id=f"document-{number}",
                    owner_id="local",
                    collection_id=collection.id,
                    operation_id=operation.id,
                    name=f"{number}.txt",
                    sha256=str(number),
                    size_bytes=1,
                    media_type="text/plain",
                    status=status,
                )
            )
    (claim,) = await ledger.claim(1)
    await ledger.fail(claim, ValueError("the model is another one"), permanent=True)
    assert (await operations.get(operation.id, "local")).failed_count == 2
    async with database.read() as session:
        rows = [await session.get(Document, f"document-{number}") for number in range(3)]
    assert [row and (row.status, row.failure_message) for row in rows] == [
        ("ready", None),
        ("failed", "the model is another one"),
        ("failed", "the model is another one"),
    ]

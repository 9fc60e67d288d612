"""Turns documents into the Arrow batches of a vector table, refusing what Lance would accept in silence."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from perplex_mono.errors import InvalidInput
from perplex_mono.storage.vector_types import ChunkBatch, DocumentRows


def table_schema(dimension: int) -> pa.Schema:
    """Columns of every vector table; the primary-key mark makes concurrent merges of the same ids conflict."""
    key = {"lance-schema:unenforced-primary-key": "true"}
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False, metadata=key),
            pa.field("document_id", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float16(), dimension), nullable=False),
        ]
    )


class RowStream:
    """The rows of several documents as one Arrow stream of bounded batches.

    Lance hides what a generator raises in a text of its own, so the error is kept in `error` for the writer to raise.
    """

    def __init__(self, documents: Sequence[DocumentRows], schema: pa.Schema) -> None:
        self._documents = documents
        self._schema = schema
        self._seen: set[str] = set()
        self.error: Exception | None = None

    @property
    def rows(self) -> int:
        """Rows handed over so far."""
        return len(self._seen)

    def reader(self) -> pa.RecordBatchReader:
        """The stream; it can be read once."""
        return pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for document in self._documents:
                for batch in document.batches:
                    yield self._record_batch(document.document_id, batch)
        except Exception as error:
            self.error = error
            raise

    def _record_batch(self, document_id: str, batch: ChunkBatch) -> pa.RecordBatch:
        dimension = self._schema.field("vector").type.list_size
        count = len(batch.ids)
        if len(batch.texts) != count or batch.vectors.shape != (count, dimension):
            raise InvalidInput(
                f"Document {document_id}: {count} ids, {len(batch.texts)} texts and vectors of shape "
                f"{batch.vectors.shape} do not make rows of dimension {dimension}."
            )
        vectors = np.ascontiguousarray(batch.vectors, dtype=np.float16)
        if not np.isfinite(vectors).all():
            raise InvalidInput(f"Document {document_id} has a vector that is not finite.")
        before = len(self._seen)
        self._seen.update(batch.ids)
        if len(self._seen) != before + count:
            raise InvalidInput(f"Document {document_id} brings a chunk id twice.")
        columns = [
            pa.array(batch.ids, pa.string()),
            pa.array([document_id] * count, pa.string()),
            pa.array(batch.texts, pa.string()),
            pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension),
        ]
        return pa.record_batch(columns, schema=self._schema)

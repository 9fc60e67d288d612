"""How documents are divided into bundles: in order, none lost, none larger than it must be."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from perplex_mono.ingestion.bundles import BUNDLE_PAGES, divide
from perplex_mono.library.models import Document


def _document(number: int, pages: int | None) -> Document:
    return Document(
        id=str(number),
        collection_id="c",
        owner_id="o",
        operation_id="p",
        name=f"{number}.txt",
        sha256="0" * 64,
        size_bytes=1,
        media_type="text/plain",
        page_count=pages,
    )


@given(st.lists(st.none() | st.integers(0, 3 * BUNDLE_PAGES), max_size=60))
def test_bundles_keep_order_and_measure(counts: list[int | None]) -> None:
    documents = [_document(number, pages) for number, pages in enumerate(counts)]
    bundles = list(divide(documents))
    assert [document for bundle in bundles for document in bundle] == documents
    for bundle in bundles:
        assert len(bundle) == 1 or sum(document.page_count or 0 for document in bundle) <= BUNDLE_PAGES
    for first, second in pairwise(bundles):
        assert sum(document.page_count or 0 for document in [*first, second[0]]) > BUNDLE_PAGES

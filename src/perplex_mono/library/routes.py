"""Collections and documents over HTTP."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from litestar import Controller, Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import File

from perplex_mono.errors import InvalidInput
from perplex_mono.library.collections import CollectionService
from perplex_mono.library.models import DocumentStatus
from perplex_mono.library.schemas import (
    CollectionChanges,
    CollectionPage,
    CollectionView,
    DocumentChanges,
    DocumentPage,
    DocumentView,
    NewCollection,
    OperationAccepted,
    UploadAccepted,
)
from perplex_mono.library.service import DocumentService
from perplex_mono.library.uploads import FILE_FIELD, UploadReceiver
from perplex_mono.web.callers import READ, WRITE
from perplex_mono.web.paging import Cursor, PageLimit

SAFE_DOWNLOAD_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-store",
}


class CollectionController(Controller):
    """Sets of documents. `default` works wherever a collection id does."""

    path = "/api/v1/collections"
    tags = ("collections",)

    @post(opt=WRITE, summary="Make a collection")
    async def create_collection(
        self,
        data: JSONBody[NewCollection],
        collections: NamedDependency[CollectionService],
        owner_id: NamedDependency[str],
    ) -> CollectionView:
        """The new collection."""
        return await collections.create(owner_id, data)

    @get(opt=READ, summary="List collections, oldest first")
    async def list_collections(
        self,
        collections: NamedDependency[CollectionService],
        owner_id: NamedDependency[str],
        limit: PageLimit = 50,
        cursor: Cursor = None,
    ) -> CollectionPage:
        """A page of collections."""
        return await collections.list_collections(owner_id, limit=limit, cursor=cursor)

    @get("/{collection_id:str}", opt=READ, summary="Get a collection")
    async def get_collection(
        self,
        collection_id: FromPath[str],
        collections: NamedDependency[CollectionService],
        owner_id: NamedDependency[str],
    ) -> CollectionView:
        """The collection."""
        return await collections.get(collection_id, owner_id)

    @patch("/{collection_id:str}", opt=WRITE, summary="Rename or describe a collection")
    async def change_collection(
        self,
        collection_id: FromPath[str],
        data: JSONBody[CollectionChanges],
        collections: NamedDependency[CollectionService],
        owner_id: NamedDependency[str],
    ) -> CollectionView:
        """The changed collection."""
        return await collections.change(collection_id, owner_id, data)

    @delete("/{collection_id:str}", opt=WRITE, status_code=202, summary="Delete a collection and all its documents")
    async def delete_collection(
        self,
        collection_id: FromPath[str],
        collections: NamedDependency[CollectionService],
        owner_id: NamedDependency[str],
    ) -> OperationAccepted:
        """Hidden at once; the bytes go in the background."""
        return await collections.delete(collection_id, owner_id)

    @post(
        "/{collection_id:str}/documents",
        opt=WRITE,
        status_code=202,
        summary="Upload documents",
        description=f"Multipart form: field `{FILE_FIELD}` (repeatable), optional `tags` and `metadata` (JSON).",
        responses={413: ResponseSpec(data_container=None, description="A file, or their number, is over the limit")},
        request_max_body_size=None,
    )
    async def upload_documents(
        self,
        collection_id: FromPath[str],
        request: Request[Any, Any, Any],
        documents: NamedDependency[DocumentService],
        uploads: NamedDependency[UploadReceiver],
        owner_id: NamedDependency[str],
    ) -> UploadAccepted:
        """Every file is stored when this answers; reading and indexing go on in the operation."""
        await documents.require_room(collection_id, owner_id)
        length = request.headers.get("content-length", "")
        async with uploads.receive(
            request.stream(),
            content_type=request.headers.get("content-type", ""),
            content_length=int(length) if length.isdigit() else None,
        ) as form:
            if not form.files:
                raise InvalidInput(f"The form has no file; send each in a field named '{FILE_FIELD}' with a file name.")
            return await documents.add(collection_id, owner_id, form.files, tags=form.tags, metadata=form.metadata)

    @get("/{collection_id:str}/documents", opt=READ, summary="List the documents of a collection, newest first")
    async def list_documents(
        self,
        collection_id: FromPath[str],
        documents: NamedDependency[DocumentService],
        owner_id: NamedDependency[str],
        status: Annotated[DocumentStatus | None, QueryParameter(description="Only documents in this status")] = None,
        media_type: Annotated[str | None, QueryParameter(description="Only this media type")] = None,
        tag: Annotated[str | None, QueryParameter(description="Only documents with this tag")] = None,
        limit: PageLimit = 50,
        cursor: Cursor = None,
    ) -> DocumentPage:
        """A page of documents."""
        return await documents.list_documents(
            collection_id, owner_id, status=status, media_type=media_type, tag=tag, limit=limit, cursor=cursor
        )


class DocumentController(Controller):
    """Single documents."""

    path = "/api/v1/documents"
    tags = ("documents",)

    @get("/{document_id:str}", opt=READ, summary="Get a document")
    async def get_document(
        self, document_id: FromPath[str], documents: NamedDependency[DocumentService], owner_id: NamedDependency[str]
    ) -> DocumentView:
        """The document and its state."""
        return await documents.get(document_id, owner_id)

    @patch("/{document_id:str}", opt=WRITE, summary="Rename, tag or annotate a document")
    async def change_document(
        self,
        document_id: FromPath[str],
        data: JSONBody[DocumentChanges],
        documents: NamedDependency[DocumentService],
        owner_id: NamedDependency[str],
    ) -> DocumentView:
        """The changed document."""
        return await documents.change(document_id, owner_id, data)

    @delete("/{document_id:str}", opt=WRITE, status_code=202, summary="Delete a document and its attachments")
    async def delete_document(
        self, document_id: FromPath[str], documents: NamedDependency[DocumentService], owner_id: NamedDependency[str]
    ) -> OperationAccepted:
        """Hidden at once; the bytes go in the background."""
        return await documents.delete(document_id, owner_id)

    @post("/{document_id:str}/retry", opt=WRITE, status_code=202, summary="Ingest a failed document again")
    async def retry_document(
        self, document_id: FromPath[str], documents: NamedDependency[DocumentService], owner_id: NamedDependency[str]
    ) -> OperationAccepted:
        """The operation that tries again."""
        return await documents.retry(document_id, owner_id)

    @get("/{document_id:str}/file", opt=READ, summary="Download the original")
    async def download_document(
        self, document_id: FromPath[str], documents: NamedDependency[DocumentService], owner_id: NamedDependency[str]
    ) -> File:
        """The bytes as they were uploaded, always as an attachment."""
        view, path = await documents.original(document_id, owner_id)
        disposition = f"attachment; filename*=UTF-8''{quote(view.name)}"
        return File(
            path=Path(path),
            media_type="application/octet-stream",
            headers={**SAFE_DOWNLOAD_HEADERS, "Content-Disposition": disposition},
        )

"""The files people gave: each there, each with the hash it is filed under, and none that belongs to nobody."""

import asyncio
import hashlib
import re
from functools import partial
from pathlib import Path

from sqlmodel import select

from perplex_mono.doctor.schemas import Finding
from perplex_mono.library.models import Document
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.database import Database

HASH = re.compile("[0-9a-f]{64}")
LOST = "Upload the same file again, or delete the document."


class OriginalChecks:
    """Checks of the stored originals. Every byte of them is read."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def damaged(self) -> list[Finding]:
        """Originals that are missing, or are not what was uploaded."""
        query = select(Document.sha256, Document.name).where(Document.status != "deleting")
        async with self._database.read() as session:
            names = dict((await session.exec(query)).all())
        findings: list[Finding] = []
        for sha256, name in names.items():
            if not self._blobs.exists(sha256):
                findings.append(Finding("originals", f"'{name}'", f"its original is missing. {LOST}"))
            elif await asyncio.to_thread(_hash, self._blobs.path(sha256)) != sha256:
                problem, mend = f"its original is damaged. {LOST}", partial(self._put_aside, sha256)
                findings.append(Finding("originals", f"'{name}'", problem, mend))
        return findings

    async def unreferenced(self) -> list[Finding]:
        """Originals that no document refers to: a crash came between the file and its row, or between row and file."""
        async with self._database.read() as session:
            known = set((await session.exec(select(Document.sha256))).all())
        stored = {name for name in await asyncio.to_thread(self._blobs.stored) if HASH.fullmatch(name)}
        return [
            Finding("originals", f"file {sha256}", "no document refers to it", partial(self._put_aside, sha256))
            for sha256 in sorted(stored - known)
        ]

    async def _put_aside(self, sha256: str) -> str:
        return f"moved to {await asyncio.to_thread(self._blobs.put_aside, sha256)}"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

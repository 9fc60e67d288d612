"""Excel workbooks: every sheet a page, or several with the header row repeated, read row by row."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import openpyxl
import xlrd

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.readers.archive import open_package
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.damage import reported_as_corrupt
from perplex_mono.ingestion.readers.page_builder import PageWriter, Piece, heading
from perplex_mono.ingestion.readers.tables import MAX_COLUMNS, TableWriter
from perplex_mono.library.media_types import XLS, XLSX

_COUNTED_PAGES = 32
"""A workbook of up to this many pages is counted before its first page goes out (at most half a megabyte)."""

_HEAD_ROWS = 3
_MIDNIGHT = dt.time(0)


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read an XLSX workbook; hidden sheets are left out, formulas show their stored values."""
    with open_package(request.path, request.limits, "Excel workbook") as package:
        package.check_parts()
    # A handle, not the path: openpyxl goes by the extension of a path, and stored files have none.
    with reported_as_corrupt("an Excel workbook"), Path(request.path).open("rb") as file:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        pages = PageWriter(request)
        yield from _counted(XLSX, _workbook_pages(book, pages))
        pages.finish()
        book.close()


def read_xls(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read an XLS workbook; hidden sheets are left out, formulas show their stored values."""
    with reported_as_corrupt("an Excel workbook"):
        try:
            book = xlrd.open_workbook(request.path, on_demand=True)
        except xlrd.XLRDError as error:
            if "encrypted" in str(error).lower():
                raise DocumentFailure("encrypted", "The workbook is encrypted; save it without a password.") from error
            raise
        pages = PageWriter(request)
        yield from _counted(XLS, _old_workbook_pages(book, pages))
        pages.finish()


def sheet_pages(pages: PageWriter, name: str, rows: Iterable[Sequence[str]]) -> Iterator[Page]:
    """Pages of one sheet, its name as heading. Blank rows part tables, blank columns beside a table are dropped."""

    def pieces() -> Iterator[Piece]:
        for position, piece in enumerate(_table_pieces(rows)):
            if position == 0:
                yield heading(name, 1)
            yield piece

    return pages.sections(pieces(), label=name)


def _counted(media_type: str, pages: Iterator[Page]) -> Iterator[ReaderItem]:
    first = list(islice(pages, _COUNTED_PAGES + 1))
    yield Opened(media_type, len(first) if len(first) <= _COUNTED_PAGES else None)
    yield from first
    yield from pages


def _workbook_pages(book: Any, pages: PageWriter) -> Iterator[Page]:
    for sheet in book.worksheets:
        if sheet.sheet_state == "visible":
            sheet.reset_dimensions()
            rows = ([_shown(cell.value, cell.number_format) for cell in row[:MAX_COLUMNS]] for row in sheet.iter_rows())
            yield from sheet_pages(pages, sheet.title, rows)


def _old_workbook_pages(book: Any, pages: PageWriter) -> Iterator[Page]:
    for index in range(book.nsheets):
        sheet = book.sheet_by_index(index)
        if sheet.visibility == 0:
            rows = ([_old_shown(cell, book.datemode) for cell in sheet.row(number)] for number in range(sheet.nrows))
            yield from sheet_pages(pages, sheet.name, rows)
        book.unload_sheet(index)


def _table_pieces(rows: Iterable[Sequence[str]]) -> Iterator[Piece]:
    """Each run of rows between blank rows as a table of its own, moved to its first used column."""
    writer: TableWriter | None = None
    offset = 0
    for row in rows:
        used = next((column for column, cell in enumerate(row) if cell), None)
        if used is None:
            if writer is not None and not _is_header_only(writer):
                yield from writer.finish()
                writer = None
            continue
        if writer is None:
            writer = TableWriter()
            offset = used
        yield from writer.add(row[min(offset, used) :])
    if writer is not None:
        yield from writer.finish()


def _is_header_only(writer: TableWriter) -> bool:
    """Whether a blank row only parts the head of a table from its body."""
    return writer.width > 1 and writer.rows_added <= _HEAD_ROWS


def _shown(value: object, number_format: str) -> str:
    """A cell's value as people see it, except that dates are ISO and numbers have no grouping."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        is_percent = "%" in number_format and '"' not in number_format
        return f"{value * 100:.6g}%" if is_percent else f"{value:.15g}"
    if isinstance(value, dt.datetime):
        return _shown_moment(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)


def _shown_moment(value: dt.datetime) -> str:
    if value.time() == _MIDNIGHT:
        return value.date().isoformat()
    return value.isoformat(sep=" ", timespec="minutes" if value.second == 0 else "seconds")


def _old_shown(cell: Any, datemode: int) -> str:
    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            moment = xlrd.xldate_as_datetime(cell.value, datemode)
        except (ValueError, OverflowError):
            return f"{cell.value:.15g}"
        return _shown(moment.time() if cell.value < 1 else moment, "")
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return str(bool(cell.value)).upper()
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return str(xlrd.error_text_from_code.get(cell.value, "#N/A"))
    return _shown(cell.value if cell.value != "" else None, "")

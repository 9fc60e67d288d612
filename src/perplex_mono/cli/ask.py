"""`perplex-mono ask`: the answer, and below it what each `[n]` rests on."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from perplex_mono.answers.schemas import Answer, AnswerRequest
from perplex_mono.cli.backend import Backend, open_backend, resolve_collections
from perplex_mono.cli.passages import page_name
from perplex_mono.cli.plain_text import one_line, printable
from perplex_mono.cli.terminal import notices, print_indented, results, text_width, write_json
from perplex_mono.errors import NotFound
from perplex_mono.settings import Settings

INDENT = 4


async def ask_library(
    settings: Settings, server: str | None, *, question: str, collections: Sequence[str], as_json: bool
) -> int:
    """Ask and print; the exit code."""
    async with open_backend(settings, server) as backend:
        ids = await resolve_collections(backend, collections)
        answer = await backend.answer(AnswerRequest(question=question, collection_ids=ids))
        media_types = {} if as_json else await _media_types(backend, answer)
    if as_json:
        write_json(answer)
    else:
        show_answer(answer, media_types, results(), notices())
    return 0


def show_answer(answer: Answer, media_types: Mapping[str, str], console: Console, warnings: Console) -> None:
    """The answer on `console`; `media_types` (by document id) say whether a document has pages or sections."""
    for warning in answer.warnings:
        warnings.print(f"warning: {one_line(warning)}")
    width = text_width(console)
    console.print(Text(printable(answer.answer).strip()), width=width)
    for citation in answer.citations:
        media_type = media_types.get(citation.document_id, "application/pdf")
        head = Text(f"\n[{citation.n}] ")
        head.append(one_line(citation.document_name), style="bold")
        head.append(", " + ", ".join(page_name(media_type, page) for page in citation.pages))
        console.print(head, width=width)
        print_indented(console, Text(f"“{one_line(citation.quote)}”"), INDENT)


async def _media_types(backend: Backend, answer: Answer) -> dict[str, str]:
    found = {}
    for document_id in dict.fromkeys(citation.document_id for citation in answer.citations):
        try:
            found[document_id] = await backend.media_type(document_id)
        except NotFound:  # deleted since the answer was written
            continue
    return found

"""Results, answers, operations and progress as people read them."""

import io
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from perplex_mono.answers.schemas import Answer, Citation
from perplex_mono.cli.ask import show_answer
from perplex_mono.cli.operations import event_line, show_operations, summary
from perplex_mono.cli.progress_bar import ProgressBar, amount, counted, describe, duration, figures, shorten
from perplex_mono.cli.reindex import index_table, way_back
from perplex_mono.cli.search import show_results
from perplex_mono.library.index_schemas import IndexList, IndexView
from perplex_mono.library.models import IndexState
from perplex_mono.library.schemas import ChunkingView
from perplex_mono.operations.schemas import Envelope, ErrorView, OperationView
from perplex_mono.search.schemas import Highlight, Hit, HitDocument, Ranks, Scores, SearchResponse

NOW = datetime(2024, 1, 2, 3, 4, tzinfo=UTC)
EVIL = "\x1b]0;owned\x07[link=http://evil]click[/link]\u202e"


def console(*, is_terminal: bool = False, width: int = 100) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=is_terminal,
        color_system="standard" if is_terminal else None,
        markup=False,
        highlight=False,
        emoji=False,
        width=width,
    )


def printed(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def hit(text: str, name: str = "book.pdf", **changes: Any) -> Hit:
    values: dict[str, Any] = {
        "chunk_id": "c",
        "document": HitDocument("d", name, "application/pdf", 9, [], NOW),
        "collection_id": "k",
        "text": text,
        "highlights": [Highlight(4, 9)],
        "heading_path": ["Part I", "Ships"],
        "pages": [7],
        "boxes": [],
        "score": 0.032786885,
        "scores": None,
        "ranks": None,
    }
    return Hit(**(values | changes))


def response(*hits: Hit, warnings: tuple[str, ...] = ()) -> SearchResponse:
    return SearchResponse(hits=list(hits), mode_used="hybrid", warnings=list(warnings), timings_ms={"total": 12.5})


def test_a_hit_shows_rank_document_page_headings_and_passage() -> None:
    out, err = console(), console()
    show_results(response(hit("The ships passed the cape."), hit("Two ships.")), out, err)
    lines = printed(out).splitlines()
    assert lines[0] == " 1. book.pdf, page 7  Part I › Ships  0.0328"
    assert lines[1] == "    The ships passed the cape."
    assert lines[3].startswith(" 2. book.pdf")
    assert printed(err) == ""


def test_found_words_are_bold_on_a_terminal() -> None:
    out = console(is_terminal=True)
    show_results(response(hit("The ships passed the cape.")), out, console())
    assert "\x1b[1mships\x1b[0m passed" in printed(out)


def test_a_long_passage_takes_four_lines() -> None:
    out = console()
    show_results(response(hit("The ships " + "sailed on and on " * 200)), out, console())
    assert 3 <= len(printed(out).splitlines()) - 1 <= 4
    assert all(len(line) <= 100 for line in printed(out).splitlines())


def test_documents_cannot_speak_to_the_terminal() -> None:
    out, err = console(is_terminal=True), console(is_terminal=True)
    hostile = hit(EVIL, name=EVIL, heading_path=[EVIL], highlights=[])
    show_results(response(hostile, warnings=(EVIL,)), out, err)
    show_answer(answer(f"{EVIL} [1]", quote=EVIL, name=EVIL), {}, out, err)
    for text in (printed(out), printed(err)):
        assert "\x1b]" not in text
        assert "\x07" not in text
        assert "\u202e" not in text
        assert "[link=http://evil]" in text


def test_explained_hits_show_scores_and_ranks() -> None:
    out = console()
    explained = hit("The ships.", scores=Scores(0.71234, None, 0.0328), ranks=Ranks(2, None))
    show_results(response(explained), out, console())
    assert "dense 0.712 (rank 2); sparse not found; fused 0.0328" in printed(out)
    assert "mode hybrid; milliseconds: total 12.5" in printed(out)


def test_nothing_found_is_said_and_warnings_go_to_standard_error() -> None:
    out, err = console(), console()
    show_results(response(warnings=("Searched by words only.",)), out, err)
    assert printed(out) == "Nothing found.\n"
    assert printed(err) == "warning: Searched by words only.\n"


def answer(text: str, quote: str = "It was 1871.", name: str = "book.pdf") -> Answer:
    citation = Citation(1, "c", "d", name, [2], [], quote, 0.7)
    return Answer("a", None, text, [citation], "extractive", "complete", [], [], {})


def test_an_answer_shows_its_citations_below() -> None:
    out = console()
    show_answer(answer("It was 1871. [1]"), {"d": "text/markdown"}, out, console())
    assert printed(out) == "It was 1871. [1]\n\n[1] book.pdf, section 2\n    “It was 1871.”\n"


def operation(state: str = "completed", **changes: Any) -> OperationView:
    values: dict[str, Any] = {
        "id": "0197a2b4-6c1e-7d3f-9a51-2f6f0e8b7c11",
        "kind": "ingest",
        "state": state,
        "collection_id": "k",
        "parent_id": None,
        "created_at": NOW,
        "started_at": NOW,
        "finished_at": NOW,
        "done": 3,
        "total": 4,
        "unit": "pages",
        "failed_count": 0,
        "attempt": 1,
        "eta_seconds": None,
        "error": None,
    }
    return OperationView(**(values | changes))


def test_operations_are_listed_with_whole_ids_even_on_a_narrow_terminal() -> None:
    out = console(width=80)
    broken = operation("dead", error=ErrorView("Boom", EVIL), failed_count=2)
    show_operations([operation(), broken], out, has_more=True)
    text = printed(out)
    assert text.count("0197a2b4-6c1e-7d3f-9a51-2f6f0e8b7c11") == 3
    assert "Boom: \ufffd]0;owned" in text
    assert "Only the newest 2 are shown." in text


def test_operations_of_several_owners_say_whose_they_are() -> None:
    out = console(width=120)
    show_operations([operation()], out, has_more=False, owners={operation().id: EVIL})
    text = printed(out)
    assert "Owner" in text
    assert "\ufffd]0;owned" in text


def test_no_operations_is_said() -> None:
    out = console()
    show_operations([], out, has_more=False)
    assert printed(out) == "No operations.\n"


def test_the_end_of_an_operation_is_one_sentence() -> None:
    assert summary(operation()).plain == "ingest completed: 3 of 4 pages, 0 s"
    dead = operation("dead", failed_count=1, error=ErrorView("Boom", "bang"))
    assert summary(dead).plain == "ingest dead: 3 of 4 pages, 1 failed, 0 s (Boom: bang)"


def envelope(event_type: str, operation_id: str = "op", **data: Any) -> Envelope:
    return Envelope(type=event_type, time=NOW, data=data, operation_id=operation_id, seq=1)


def test_documents_that_end_have_a_line_and_pages_have_none() -> None:
    failed = event_line(envelope("document_failed", name=EVIL, failure={"code": "corrupt", "message": "x"}))
    assert failed is not None
    assert "\x1b" not in failed.plain
    assert failed.plain.endswith(": corrupt: x")
    assert event_line(envelope("page_done", pages=[1])) is None


def test_the_figures_of_operations_side_by_side_add_up() -> None:
    running = {"done": 5, "total": 20, "unit": "pages", "rate_per_second": 2.0, "eta_seconds": 75.0}
    waiting = {"done": 0, "total": 3, "unit": "pages"}
    assert figures([running, waiting]) == (5, 23, "5 of 23 pages  2.0/s  1 min 15 s left")
    assert duration(7510) == "2 h 5 min"


def test_the_bar_shows_what_the_events_say() -> None:
    target = console(is_terminal=True)
    with ProgressBar(target) as bar:
        bar.begin_bytes("Uploading", 2_000_000)
        bar.count_bytes(1_000_000)
        bar.show_event(envelope("queued", total=4, unit="pages"))
        current = {"document": f"{EVIL}.pdf", "page": 3}
        bar.show_event(envelope("progress", done=3, total=4, rate_per_second=1.5, eta_seconds=2.0, current=current))
    shown = printed(target)
    assert "3 of 4 pages  1.5/s  2 s left" in shown
    assert "page 3" in shown
    assert "\x1b]0;owned" not in shown


def test_no_bar_is_drawn_where_nobody_watches() -> None:
    target = console()
    with ProgressBar(target) as bar:
        bar.begin_bytes("Uploading", 10)
        bar.show_event(envelope("progress", done=1, total=2, current={"document": "a", "page": 1}))
    assert printed(target) == ""


def test_long_names_are_cut_in_the_middle() -> None:
    assert shorten("a" * 50 + ".pdf", 20) == "a" * 13 + "…" + "aa.pdf"
    assert describe("progress", {"current": {"document": "x.pdf", "page": 2}}) == "x.pdf, page 2"
    assert describe("page_done", {}) == ""


def index(index_id: str, state: IndexState, retired_at: datetime | None = None) -> IndexView:
    cut = ChunkingView("fixed", 16, 0)
    return IndexView(index_id, "k", state, "bundled", "m", 384, cut, 1, 9, "op", NOW, retired_at)


def test_indexes_show_when_they_were_made_and_retired() -> None:
    out = console(width=160)
    out.print(index_table(IndexList([index("old", "retired", NOW.replace(day=5)), index("new", "active")])))
    _, old, new = printed(out).splitlines()
    assert "2024-01-02 03:04" in old
    assert "2024-01-05 03:04" in old
    assert "2024-01-02 03:04" in new
    assert "2024-01-05" not in new


def test_a_finished_reindex_says_how_to_go_back() -> None:
    found = IndexList([index("old", "retired", NOW), index("new", "active")])
    active, back = way_back(found, "new", ["old"], "Board minutes", "http://box:8080")
    assert active == "Active: new"
    assert "`perplex-mono reindex -c 'Board minutes' --activate old --server http://box:8080` goes back" in back
    assert "indexes.keep_retired_days" in back


def test_no_way_back_is_named_that_is_not_there() -> None:
    assert list(way_back(IndexList([index("new", "active")]), "new", ["old"], "default", None)) == ["Active: new"]
    assert list(way_back(IndexList([index("old", "active")]), "new", ["old"], "default", None)) == []


def test_bytes_are_shown_as_megabytes() -> None:
    operation = {"done": 1_500_000, "total": 20_000_000, "unit": "bytes", "rate_per_second": 2_000_000.0}
    assert figures([operation])[2] == "1.5 MB of 20.0 MB  2.0 MB/s"
    assert (counted(1, "file"), counted(2, "file")) == ("1 file", "2 files")
    assert amount(3, 7, "pages") == "3 of 7 pages"
    assert describe("progress", {"current": {"step": "reading it back"}}) == "Reading it back"


def test_a_step_without_measure_follows_counted_bytes() -> None:
    target = console(is_terminal=True)
    with ProgressBar(target) as bar:
        bar.begin_bytes("Unpacking", 2_000_000)
        bar.count_bytes(2_000_000)
        bar.begin_step("building the search index")
        bar._progress.refresh()
        assert bar._progress.tasks[0].total is None
        bar.begin_bytes("Reading", 1_000_000)
        bar.count_bytes(500_000)
        assert bar._progress.tasks[0].percentage == 50
    assert "Building the search index" in printed(target)

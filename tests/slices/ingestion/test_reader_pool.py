"""The pool with real children: what happens to a child becomes a typed failure, and nothing is left behind."""

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from PIL import Image

from perplex_mono.errors import DocumentFailure, Unavailable
from perplex_mono.ingestion import reader_process
from perplex_mono.ingestion.pages import Page, PageImage
from perplex_mono.ingestion.reader_pool import ReaderPool
from perplex_mono.ingestion.reader_process import ReaderDied, ReaderProcess
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReaderLimits, ReadRequest
from perplex_mono.ingestion.readiness import readers_status
from tests import documents
from tests.documents import PROSE, text_pdf

PDF = "application/pdf"
# More pages than fit into the pipe and the buffers, so that the child is at work when the first one arrives.
MANY_PAGES = 60


@pytest.fixture
async def pool() -> AsyncIterator[ReaderPool]:
    async with opened_pool() as pool:
        yield pool


@contextlib.asynccontextmanager
async def opened_pool(
    *,
    processes: int = 1,
    page_timeout_seconds: float = 60.0,
    limits: ReaderLimits | None = None,
    documents_each: int = 200,
    start_delays_seconds: Sequence[float] = (),
) -> AsyncIterator[ReaderPool]:
    pool = ReaderPool(
        processes,
        page_timeout_seconds,
        limits or ReaderLimits(),
        max_documents_per_child=documents_each,
        start_delays_seconds=start_delays_seconds,
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


def request_for(path: Path, limits: ReaderLimits | None = None) -> ReadRequest:
    return ReadRequest(
        str(path), path.name, "application/octet-stream", str(path.parent), limits=limits or ReaderLimits()
    )


async def read(pool: ReaderPool, path: Path, limits: ReaderLimits | None = None) -> list[ReaderItem]:
    return [item async for item in pool.read(request_for(path, limits))]


async def failure_of(pool: ReaderPool, path: Path, limits: ReaderLimits | None = None) -> DocumentFailure:
    with pytest.raises(DocumentFailure) as caught:
        await read(pool, path, limits)
    return caught.value


def children() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "perplex_mono.ingestion.readers.child" in process.cmdline():
                found.append(process)
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


async def until_no_children() -> None:
    await until(lambda: not children())


async def read_and_disturb(pool: ReaderPool, path: Path, disturb: Callable[[psutil.Process], None]) -> None:
    """Read the first page, do something to the child, read on to the end."""
    async with aclosing(pool.read(request_for(path))) as items:
        await first_page(items)
        disturb(children()[0])
        async for _ in items:
            pass


@pytest.fixture
def long_pdf(tmp_path: Path) -> Path:
    return documents.long_pdf(tmp_path / "long.pdf", MANY_PAGES)


async def first_page(items: AsyncIterator[ReaderItem]) -> None:
    async for item in items:
        if isinstance(item, Page):
            return
    raise AssertionError("no page came")


async def test_pages_come_with_the_type_found_by_content_and_the_child_is_used_again(
    pool: ReaderPool, tmp_path: Path
) -> None:
    path = text_pdf(tmp_path / "lies.png", ["one", "two"])
    opened, *pages = await read(pool, path)
    assert opened == Opened(PDF, 2)
    assert [page.text for page in pages if isinstance(page, Page)] == ["one", "two"]
    before = [child.pid for child in children()]
    documents.picture("three").save(tmp_path / "a.png")
    image = (await read(pool, tmp_path / "a.png"))[1]
    assert isinstance(image, PageImage)
    assert image.pixels == documents.picture("three").tobytes()
    assert [child.pid for child in children()] == before
    assert (pool.status().state, pool.status().documents, pool.status().replaced) == ("ready", 2, 0)


async def test_a_document_that_cannot_be_read_leaves_the_child_to_the_next(pool: ReaderPool, tmp_path: Path) -> None:
    locked = text_pdf(tmp_path / "locked.pdf", ["one"], password="secret")
    assert (await failure_of(pool, locked)).code == "encrypted"
    (tmp_path / "a.exe").write_bytes(b"MZ" + bytes(2000))
    assert (await failure_of(pool, tmp_path / "a.exe")).code == "unsupported"
    assert pool.status().replaced == 0


@pytest.mark.parametrize(
    ("signal_number", "code", "word"),
    [(signal.SIGSEGV, "internal", "SIGSEGV"), (signal.SIGKILL, "memory", "memory")],
)
async def test_a_child_that_dies_fails_its_document_naming_the_page_and_is_replaced(
    pool: ReaderPool, long_pdf: Path, tmp_path: Path, signal_number: int, code: str, word: str
) -> None:
    with pytest.raises(DocumentFailure) as caught:
        await read_and_disturb(pool, long_pdf, lambda child: child.send_signal(signal_number))
    assert caught.value.code == code
    assert word in str(caught.value)
    assert "while reading page " in str(caught.value)
    good = await read(pool, text_pdf(tmp_path / "good.pdf", ["still here"]))
    assert [item.text for item in good if isinstance(item, Page)] == ["still here"]
    assert pool.status().replaced == 1


async def test_a_child_without_progress_is_a_timeout_but_a_slow_consumer_is_not(long_pdf: Path) -> None:
    async with opened_pool(page_timeout_seconds=4.0) as pool:
        async with aclosing(pool.read(request_for(long_pdf))) as items:
            await first_page(items)
            await asyncio.sleep(5)
            rest = [item async for item in items]
        assert len(rest) == MANY_PAGES - 1
        with pytest.raises(DocumentFailure) as caught:
            await read_and_disturb(pool, long_pdf, lambda child: child.suspend())
        assert caught.value.code == "timeout"
        assert "while reading page " in str(caught.value)
        await until_no_children()


async def test_leaving_early_and_cancelling_end_the_child(pool: ReaderPool, long_pdf: Path) -> None:
    async with aclosing(pool.read(request_for(long_pdf))) as items:
        await first_page(items)
        assert len(children()) == 1
    await until_no_children()

    async def forever() -> None:
        async for _ in pool.read(request_for(long_pdf)):
            await asyncio.sleep(3600)

    task = asyncio.create_task(forever())
    await until(lambda: bool(children()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_no_children()
    assert len(await read(pool, long_pdf)) == MANY_PAGES + 1


async def test_no_more_children_than_allowed_run_at_once(tmp_path: Path) -> None:
    path = text_pdf(tmp_path / "a.pdf", [PROSE])
    async with opened_pool(processes=2) as pool:
        counts = await asyncio.gather(*(read(pool, path) for _ in range(5)))
        assert [len(items) for items in counts] == [2] * 5
        assert len(children()) == 2


async def test_what_is_urgent_does_not_wait_for_a_long_document_to_end(
    pool: ReaderPool, tmp_path: Path, long_pdf: Path
) -> None:
    short = text_pdf(tmp_path / "a.pdf", [PROSE])
    async with aclosing(pool.read(request_for(long_pdf))) as items:
        await first_page(items)
        async with asyncio.timeout(60):
            urgent = [item async for item in pool.read(request_for(short), is_urgent=True)]
        assert len(urgent) == 2
        assert pool.status().children == 2
    assert len([item async for item in pool.read(request_for(short), is_urgent=True)]) == 2


async def test_a_child_is_retired_after_its_share_of_documents(tmp_path: Path) -> None:
    path = text_pdf(tmp_path / "a.pdf", ["one"])
    async with opened_pool(documents_each=2) as pool:
        await read(pool, path)
        first = children()[0].pid
        await read(pool, path)
        await read(pool, path)
        assert first not in [child.pid for child in children()]
        assert pool.status().replaced == 1


async def test_bombs_fail_for_memory_or_size_and_nobody_else_notices(pool: ReaderPool, tmp_path: Path) -> None:
    image = await failure_of(pool, documents.bomb_png(tmp_path / "bomb.png", 20_000, 20_000))
    assert image.code == "too_large"
    assert "40 megapixels" in str(image)
    bomb = documents.stream_bomb_pdf(tmp_path / "bomb.pdf", 400_000_000)
    assert bomb.stat().st_size < 50_000
    stream = await failure_of(pool, bomb, ReaderLimits(memory_bytes=150_000_000))
    assert stream.code == "memory"
    assert "page 1" in str(stream)
    assert len(await read(pool, text_pdf(tmp_path / "good.pdf", ["one"]))) == 2


async def test_fifty_mutations_end_in_pages_or_a_document_failure(tmp_path: Path) -> None:
    def draw(path: Path) -> bytes:
        pdf = documents.new_pdf()
        for number in range(3):
            pdf.add_page()
            pdf.multi_cell(w=400, h=14, text=PROSE)
            pdf.image(documents.picture(str(number), (60, 40)), x=100, y=300)
        pdf.output(str(path))
        return path.read_bytes()

    original = draw(tmp_path / "original.pdf")
    async with opened_pool(processes=2, page_timeout_seconds=20.0) as pool:

        async def outcome(seed: int) -> str:
            path = tmp_path / f"mutant-{seed}.pdf"
            path.write_bytes(documents.mutated(original, seed))
            try:
                items = await read(pool, path)
            except DocumentFailure as failure:
                return failure.code
            assert isinstance(items[0], Opened)
            return "pages" if len(items) > 1 else "nothing"

        outcomes = await asyncio.gather(*(outcome(seed) for seed in range(50)))
        assert "nothing" not in outcomes
        assert outcomes.count("pages") >= 10
        assert len(await read(pool, tmp_path / "original.pdf")) == 4


async def test_a_page_is_drawn_with_its_highlights(pool: ReaderPool, tmp_path: Path) -> None:
    path = text_pdf(tmp_path / "a.pdf", ["", PROSE])
    plain = Image.open(io.BytesIO(await pool.render_page(str(path), PDF, 1, 500)))
    marked = Image.open(io.BytesIO(await pool.render_page(str(path), PDF, 1, 500, [(0.5, 0.5, 0.9, 0.6)])))
    assert max(plain.size) == 500
    assert plain.getcolors() == [(plain.width * plain.height, (255, 255, 255))]
    red, green, blue = marked.convert("RGB").getpixel((int(marked.width * 0.7), int(marked.height * 0.55)))  # type: ignore[misc] # RGB has three bands
    assert red > 240
    assert green > 200
    assert blue < 150
    assert marked.getpixel((10, 10)) == (255, 255, 255)
    documents.picture("four", (900, 300)).save(tmp_path / "a.png")
    image = Image.open(io.BytesIO(await pool.render_page(str(tmp_path / "a.png"), "image/png", 1, 300)))
    assert image.size == (300, 100)


async def test_what_cannot_be_drawn_says_so(pool: ReaderPool, tmp_path: Path) -> None:
    path = text_pdf(tmp_path / "a.pdf", ["one"])
    for media_type, page, code in (("text/html", 1, "unsupported"), (PDF, 2, "corrupt"), (PDF, 0, "corrupt")):
        with pytest.raises(DocumentFailure) as caught:
            await pool.render_page(str(path), media_type, page, 500)
        assert caught.value.code == code


async def test_the_child_has_low_priority_no_secrets_and_no_stdout(
    pool: ReaderPool, long_pdf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERPLEX_AUTH__SECRET", "hush")
    async with aclosing(pool.read(request_for(long_pdf))) as items:
        await first_page(items)
        child = children()[0]
        assert child.nice() == 19
        assert "PERPLEX_AUTH__SECRET" not in child.environ()
        if sys.platform == "linux":
            assert child.rlimit(psutil.RLIMIT_CORE)[0] == 0
            assert child.rlimit(psutil.RLIMIT_AS)[0] < 3_000_000_000


async def test_closing_leaves_no_process_task_or_file_behind(tmp_path: Path, long_pdf: Path) -> None:
    await read_once_in_a_pool_of_its_own(text_pdf(tmp_path / "a.pdf", ["one"]))
    files, tasks = psutil.Process().num_fds(), len(asyncio.all_tasks())
    pool = ReaderPool(2, 60.0, ReaderLimits())
    await pool.open()
    readers = [asyncio.create_task(read(pool, long_pdf)) for _ in range(4)]
    await until(lambda: len(children()) == 2)
    await pool.close()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 4
    assert children() == []
    assert (psutil.Process().num_fds(), len(asyncio.all_tasks())) == (files, tasks)
    assert pool.status().state == "closed"
    with pytest.raises(Unavailable):
        await read(pool, long_pdf)


async def test_a_child_that_does_not_start_is_tried_again_while_readiness_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = text_pdf(tmp_path / "a.pdf", ["one"])
    monkeypatch.setattr(reader_process, "_command_line", lambda _: ["/nowhere/python"])
    async with opened_pool(start_delays_seconds=[0.001, 0.001]) as pool:
        with pytest.raises(Unavailable, match="could not be started"):
            await read(pool, document)
    async with opened_pool(start_delays_seconds=[0.01] * 1000) as pool:
        reading = asyncio.create_task(read(pool, document))
        await until(lambda: readers_status(pool).state == "degraded")
        assert "could not be started" in str(readers_status(pool).reason)
        with pytest.raises(Unavailable, match="could not be started"):
            await pool.render_page(str(document), PDF, 1, 100)
        monkeypatch.undo()
        assert len(await reading) > 1
        await pool.render_page(str(document), PDF, 1, 100)
        assert readers_status(pool).state == "ok"


async def test_children_that_were_replaced_are_counted(tmp_path: Path) -> None:
    async with opened_pool(documents_each=1) as pool:
        for _ in range(2):
            await read(pool, text_pdf(tmp_path / "a.pdf", ["one"]))
        assert readers_status(pool).restarts == 2


async def read_once_in_a_pool_of_its_own(path: Path) -> None:
    async with opened_pool() as pool:
        await read(pool, path)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
async def test_children_die_with_the_server(long_pdf: Path) -> None:
    program = (
        "import asyncio, sys, psutil\n"
        "from tests.slices.ingestion import test_reader_pool as t\n"
        "async def main():\n"
        "    async with t.opened_pool() as pool:\n"
        "        async for item in pool.read(t.request_for(t.Path(sys.argv[1]))):\n"
        "            print(t.children()[0].pid, flush=True)\n"
        "            await asyncio.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    server = subprocess.Popen([sys.executable, "-c", program, str(long_pdf)], stdout=subprocess.PIPE, env=environment)
    assert server.stdout is not None
    child = psutil.Process(int(server.stdout.readline()))
    child.suspend()  # it cannot notice by itself
    server.kill()
    server.wait()
    server.stdout.close()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("sent", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc", b"\x00\x00\x00\x09short"])
async def test_a_hijacked_child_cannot_make_the_server_take_in_more_than_a_frame(sent: bytes) -> None:
    program = f"import sys; sys.stdout.buffer.write({sent!r}); sys.stdout.flush(); sys.stdin.read()"
    if sent.endswith(b"short"):
        program = program.replace("sys.stdin.read()", "pass")
    liar = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process = ReaderProcess(liar)
    with pytest.raises(ReaderDied):
        await process.receive()
    await process.dispose()
    assert not process.alive


async def test_the_memory_of_the_server_does_not_count_against_a_document(tmp_path: Path) -> None:
    """Linux hands the peak of the parent's memory on to a new child's own account."""
    ballast = b"x" * (512 * 2**20)
    path = text_pdf(tmp_path / "a.pdf", ["Some words"])
    request = ReadRequest(str(path), "a.pdf", PDF, str(tmp_path), limits=ReaderLimits(memory_bytes=256 * 2**20))
    async with opened_pool() as pool:
        items = [item async for item in pool.read(request)]
    assert len(ballast) == 512 * 2**20
    assert any(isinstance(item, Page) and "Some words" in item.text for item in items)

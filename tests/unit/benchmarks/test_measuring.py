"""What the benchmarks count with counts right."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.http_load import Kind, Plan, generate_load, get, post
from benchmarks.load import lag_row
from benchmarks.process_memory import PeakMemory, tree_bytes
from benchmarks.soak import Moment, fitted
from benchmarks.spans import LocatedText
from benchmarks.texts import judgements


class Answers(BaseHTTPRequestHandler):
    """200 with what was sent; 404 for /missing."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(404 if self.path == "/missing" else 200, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200 if json.loads(body) == {"query": "naïve"} else 400, b"x" * 100_000)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_good_answers_are_counted_by_kind_and_others_are_errors(port: int) -> None:
    kinds = [
        Kind("reads", 0.5, [get("/there")]),
        Kind("searches", 0.3, [post("/search", {"query": "naïve"})]),
        Kind("misses", 0.2, [get("/missing")]),
    ]
    outcome = generate_load(Plan(port, 2, 0.5, kinds))
    assert outcome.latencies["reads"]
    assert outcome.latencies["searches"]
    assert not outcome.latencies["misses"]
    assert outcome.errors > 0
    assert outcome.requests == len(outcome.all_latencies())


def test_a_load_that_meets_no_server_is_a_failure() -> None:
    with pytest.raises(RuntimeError, match="load generator"):
        generate_load(Plan(1, 1, 0.1, [Kind("reads", 1.0, [get("/")])]))


def test_memory_of_a_tree_is_that_of_the_process_at_least_and_its_peak_is_kept() -> None:
    with PeakMemory(os.getpid()) as memory:
        pass
    assert memory.samples >= 1
    assert memory.bytes > 1_000_000
    assert tree_bytes(2**22 + 1) == 0


def test_a_passage_is_found_whatever_was_made_of_its_marks() -> None:
    text = "= = Title = =\n\nIt is *very* cold; İstanbul too."
    found = LocatedText(text).find("## title\nit is VERY cold")
    assert found is not None
    assert text[found.start : found.stop] == "Title = =\n\nIt is *very* cold"
    assert LocatedText(text).find("warm") is None
    assert LocatedText("one <unk> two").find("One two") == range(13)


def test_the_lag_told_is_the_bound_of_the_bucket_that_holds_the_99th_percentile() -> None:
    row = lag_row({0.01: 98.0, 0.1: 98.5, 0.25: 99.5, float("inf"): 100.0})
    assert row.value == 250
    assert row.met is False
    assert lag_row({0.01: 98.0, 0.1: 99.0, float("inf"): 100.0}).met is True


def test_judgements_pass_over_a_heading_line_and_grades_of_zero(tmp_path: Path) -> None:
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n2\tc\t1\n", encoding="utf-8")
    assert judgements(tmp_path / "qrels.tsv") == {"1": {"a": 2}, "2": {"c": 1}}


def test_a_soak_finds_the_slope_after_the_warm_up() -> None:
    steady = [Moment(hour * 3600.0, int((100 + 6 * hour) * 1e6), 50, 20 + hour, 3) for hour in range(2, 9)]
    warming = [Moment(0.0, 900_000_000, 5, 1, 1), Moment(3600.0, 800_000_000, 5, 1, 1)]
    slopes = {slope.name: slope for slope in fitted([*warming, *steady])}
    assert slopes["memory MB"].per_hour == pytest.approx(6)
    assert slopes["memory MB"].first == pytest.approx(112)
    assert slopes["memory MB"].last == pytest.approx(148)
    assert slopes["threads"].per_hour == pytest.approx(1)
    assert slopes["handles"].per_hour == pytest.approx(0, abs=1e-9)

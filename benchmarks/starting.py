"""How long a server with a full library takes from its start until it answers, and until it can do all its work."""

import time

import httpx

from benchmarks.product import running_product
from benchmarks.rows import Row, run_as_command

DOCUMENTS = 10_000
STARTS = 3
POLL_SECONDS = 0.02
WAIT_SECONDS = 120.0
HEALTH_SECONDS, READY_SECONDS = 3.0, 10.0


def run(limit: int | None = None) -> list[Row]:
    """With `limit` documents; the slowest of three starts counts."""
    documents = limit or DOCUMENTS
    with running_product(environment={"PERPLEX_OCR__ENGINE": "none"}) as product:
        product.ingest((f"{n}.txt", f"Note {n}: boat {n} came in with the tide.".encode()) for n in range(documents))
        healthy, ready = [], []
        for _ in range(STARTS):
            product.server.stop()
            started = time.perf_counter()
            product.server.launch()
            _wait_for(f"{product.server.url}/health")
            healthy.append(time.perf_counter() - started)
            _wait_for(f"{product.server.url}/ready", "starting", "down")
            ready.append(time.perf_counter() - started)
    note = f"the slowest of {STARTS} starts, from the first instruction of the process"
    return [
        _row(f"start to /health, {documents} documents", max(healthy), HEALTH_SECONDS, note),
        _row(f"start to all components well, {documents} documents", max(ready), READY_SECONDS, ""),
    ]


def _row(name: str, seconds: float, bound: float, note: str) -> Row:
    return Row(name, seconds, "s", None, None, f"<= {bound:g} s", seconds <= bound, note)


def _wait_for(url: str, *unwanted: str) -> None:
    """Until it answers 200, with no component in one of these states."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            answer = httpx.get(url, timeout=5)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == 200:
            components = answer.json().get("components", {}).values()
            if not any(component["status"] in unwanted for component in components):
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{url} did not answer as it should in {WAIT_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    run_as_command(run, __doc__, "documents")

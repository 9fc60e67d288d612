"""The server under more users than it is for: many at once, slow ones, and a storm of sockets; and how it is after.

Every user has an account, documents of its own, and the limits that are there by default.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.crowds import HEALTH, LIST, Answers, beside_slow_ones, crowd, open_socket, open_sockets
from benchmarks.process_memory import tree_bytes
from benchmarks.product import Product, running_product
from benchmarks.rows import Row, run_as_command
from benchmarks.texts import questions

CLIENTS = 100
SLOW_CONNECTIONS = 1_000
SOCKET_ATTEMPTS = 10_000
USERS_MADE_AT_ONCE = 4
DOCUMENTS_EACH = 3
PASSWORD = "the tide waits for nobody at all"
# Their limits are what they are by default; only that all of them log in from one address within a minute is let pass.
ENVIRONMENT = {
    "PERPLEX_LIMITS__REQUESTS_PER_MINUTE_USER": "6000",
    "PERPLEX_LIMITS__REQUESTS_PER_MINUTE_ANONYMOUS": "1000",
    "PERPLEX_OCR__ENGINE": "none",
}
RECOVERY_SECONDS = 10.0
HEALTH_MS, SLOW_HEALTH_MS, LIST_MS = 100.0, 1000.0, 500.0
MIN_SLOW_SHARE = 0.95
MAX_ERRORS, MAX_MEMORY_RATIO, MAX_BYTES = 0.01, 1.2, 2_000_000_000


def run(limit: int | None = None) -> list[Row]:
    """With `limit` users at once, ten times as many slow clients, a hundred times as many attempts to open a socket."""
    with running_product(environment=ENVIRONMENT) as product:
        tokens = _users(product, limit or CLIENTS)
        return asyncio.run(_measure(product, tokens))


def _users(product: Product, count: int) -> list[str]:
    """Make so many users with a few documents each; their tokens. The product's own client is an administrator then."""
    admin = product.post("/api/v1/auth/setup", {"name": "admin", "password": PASSWORD})
    product.http.headers["Authorization"] = f"Bearer {admin['access_token']}"

    def user(number: int) -> str:
        account = {"name": f"user{number}", "password": PASSWORD}
        product.post("/api/v1/users", account)
        theirs = Product(product.server)
        token = str(theirs.post("/api/v1/auth/login", account)["access_token"])
        theirs.http.headers["Authorization"] = f"Bearer {token}"
        theirs.ingest(
            (f"{n}.txt", f"Note {n} of user {number} about the tide.".encode()) for n in range(DOCUMENTS_EACH)
        )
        return token

    with ThreadPoolExecutor(USERS_MADE_AT_ONCE) as pool:
        return list(pool.map(user, range(count)))


async def _measure(product: Product, tokens: Sequence[str]) -> list[Row]:
    clients = len(tokens)
    before = tree_bytes(product.server.pid)
    with product.peak_memory() as peak:
        health = await crowd(product, [HEALTH] * clients)
        listing = await crowd(product, [LIST.format(token) for token in tokens])
        slow, held = await beside_slow_ones(product, tokens, clients * SLOW_CONNECTIONS // CLIENTS)
        outcomes = await open_sockets(product, tokens, clients * SOCKET_ATTEMPTS // CLIENTS)
        recovery = await _recovery_seconds(product, tokens[0])
    after = tree_bytes(product.server.pid)
    broken = sum(count for outcome, count in outcomes.items() if outcome not in ("opened", "1008", "1013"))
    attempts = outcomes.total()
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    return [
        _latency(f"/health, {clients} clients at once, p95", health, HEALTH_MS),
        _latency(f"list of documents, {clients} users at once, p95", listing, LIST_MS),
        _latency(f"/health beside {clients * SLOW_CONNECTIONS // CLIENTS} slow connections, p95", slow, SLOW_HEALTH_MS),
        Row(
            "slow connections that the server held, median",
            held * 100,
            "%",
            None,
            None,
            f">= {MIN_SLOW_SHARE:.0%}",
            held >= MIN_SLOW_SHARE,
            "",
        ),
        Row(
            "sockets neither opened nor refused as promised",
            broken,
            "attempts",
            None,
            None,
            "< 1 %",
            broken < MAX_ERRORS * attempts,
            told,
        ),
        Row(
            "memory at most",
            peak.bytes / 1e6,
            "MB",
            None,
            None,
            f"< {MAX_BYTES // 10**6} MB",
            peak.bytes < MAX_BYTES,
            "",
        ),
        Row("well again after all that", recovery, "s", None, None, "<= 10 s", recovery <= RECOVERY_SECONDS, ""),
        Row(
            "memory after it",
            after / 1e6,
            "MB",
            before / 1e6,
            after / before,
            f"<= {MAX_MEMORY_RATIO}x before",
            after / before <= MAX_MEMORY_RATIO,
            "",
        ),
    ]


def _latency(name: str, answers: Answers, bound_ms: float) -> Row:
    met = answers.p95_ms < bound_ms and answers.error_fraction < MAX_ERRORS
    note = f"{len(answers.seconds)} answers, {answers.errors.total()} errors {dict(answers.errors) or ''}"
    return Row(name, answers.p95_ms, "ms", None, None, f"< {bound_ms:.0f} ms, errors < 1 %", met, note)


async def _recovery_seconds(product: Product, token: str) -> float:
    """From now until a search is answered as quickly as on a quiet server, and a feed opens."""
    started = time.monotonic()
    for question in questions():
        asked = time.monotonic()
        answer = await asyncio.to_thread(product.search, question)
        is_quick = time.monotonic() - asked < 1.0 and "hits" in answer
        if is_quick and await open_socket(product, token) == "opened":
            break
        if time.monotonic() - started > 60.0:
            break
    return time.monotonic() - started


if __name__ == "__main__":
    run_as_command(run, __doc__, "users at once")

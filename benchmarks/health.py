"""How many times a second `/health` answers, against a bare Litestar application on granian; by turns, in one run."""

from statistics import median

from benchmarks.bare_app import running_bare_app
from benchmarks.http_load import Kind, Plan, generate_load, get, port_of
from benchmarks.product import running_product
from benchmarks.rows import Row, run_as_command

ROUNDS = 5
SECONDS = 3.0
CONNECTIONS = 16
MIN_RATIO = 0.6


def run(limit: int | None = None) -> list[Row]:
    """Measure `limit` rounds of three seconds each way."""
    ours: list[float] = []
    bare: list[float] = []
    errors = 0
    with running_product() as product, running_bare_app() as bare_port:
        for round_number in range(limit or ROUNDS):
            turns = [(port_of(product.server.url), ours), (bare_port, bare)]
            for port, into in turns if round_number % 2 else reversed(turns):
                outcome = generate_load(Plan(port, CONNECTIONS, SECONDS, [Kind("health", 1.0, [get("/health")])]))
                into.append(outcome.per_second)
                errors += outcome.errors
    ratio = median(one / other for one, other in zip(ours, bare, strict=True))
    note = f"{len(ours)} rounds, {CONNECTIONS} connections, {errors} errors; median of the rounds' ratios"
    value, reference = median(ours), median(bare)
    target = f">= {MIN_RATIO}x of a bare Litestar app"
    return [Row("/health", value, "requests/s", reference, ratio, target, ratio >= MIN_RATIO and not errors, note)]


if __name__ == "__main__":
    run_as_command(run, __doc__, "rounds")

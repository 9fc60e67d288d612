"""Texts go together by length, in windows, within a budget that follows memory."""

from perplex_mono.inference.batching import GROW_AFTER_SUCCESSES, TokenBudget, Window, tokens_that_fit


def test_window_batches_similar_lengths_within_the_budget() -> None:
    window: Window[str] = Window()
    window.fill(["short", "long", "middle", "longest"], [5, 60, 30, 64])

    assert window.take(124) == (["longest", "long"], 124)
    assert window.take(34) == (["middle"], 30)
    assert window.take(34) == (["short"], 5)
    assert window.take(34) == ([], 0)


def test_window_gives_one_text_even_if_it_is_over_the_budget() -> None:
    window: Window[str] = Window()
    window.fill(["a", "b"], [100, 90])

    assert window.take(1) == (["a"], 100)
    assert len(window) == 1


def test_clearing_a_window_returns_what_waited() -> None:
    window: Window[str] = Window()
    window.fill(["a", "b"], [1, 2])

    assert sorted(window.clear()) == ["a", "b"]
    assert len(window) == 0


def test_budget_halves_what_failed_down_to_one_and_grows_back_to_its_maximum() -> None:
    budget = TokenBudget(1000)
    budget.shrink(failed_tokens=600)
    assert budget.current == 300

    for _ in range(12):
        budget.shrink(failed_tokens=budget.current)
    assert budget.current == 1
    assert budget.reductions == 13

    for _ in range(GROW_AFTER_SUCCESSES - 1):
        budget.succeed()
    assert budget.current == 1
    for _ in range(GROW_AFTER_SUCCESSES * 20):
        budget.succeed()
    assert budget.current == 1000


def test_memory_sets_the_batch_and_leaves_the_reserve() -> None:
    assert tokens_that_fit(1_500, reserve_bytes=500, bytes_per_token=10) == 100
    assert tokens_that_fit(400, reserve_bytes=500, bytes_per_token=10) == 1

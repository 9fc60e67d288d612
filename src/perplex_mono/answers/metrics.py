"""Answers and the checks of their citations in figures."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class AnswerMetrics:
    """What becomes of questions."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.answers = Counter("answers", "Questions, by what became of them", ["mode", "outcome"], registry=registry)
        self.seconds = Histogram(
            "answer_duration_seconds",
            "Time from a question to its checked citations",
            ["mode"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._citations = Counter(
            "citations",
            "Quotes looked up on their pages: verified ones stand there, dropped ones do not",
            ["outcome"],
            registry=registry,
        )

    def checked(self, *, verified: int, dropped: int) -> None:
        """So many quotes of an answer stand on their pages, and so many do not."""
        self._citations.labels("verified").inc(verified)
        self._citations.labels("dropped").inc(dropped)

"""Every deliberate error has a status and a type of its own."""

from perplex_mono import errors
from perplex_mono.web import problems


def test_no_kind_of_error_is_forgotten() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PerplexError)]
    assert len(kinds) > 10
    assert {kind for kind in kinds if kind is not errors.PerplexError} <= {row[0] for row in problems._KINDS}

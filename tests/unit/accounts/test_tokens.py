"""Tokens: nothing to forge, and nothing in the database that opens a door."""

import pytest

from perplex_mono.accounts.tokens import new_token, parse_token


def test_a_token_is_found_again_and_matches_only_its_own_hash() -> None:
    token = new_token("pma", "0199-row")
    again = parse_token(str(token))
    assert again is not None
    assert (again.kind, again.row_id) == ("pma", "0199-row")
    assert again.matches(token.hash)
    assert not again.matches(new_token("pma", "0199-row").hash)
    assert token.secret not in token.hash


def test_secrets_have_256_bits_and_do_not_show_in_logs() -> None:
    token = new_token("pmk", "row")
    assert len(token.secret) >= 43
    assert token.secret not in repr(token)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pma",
        "pma_row",
        "pma__secret",
        "pma_row_",
        "xyz_row_secret",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
        "pma_row_" + "x" * 300,
        "pma_row_secr\u00e9t",
        "PMA_row_secret",
    ],
)
def test_anything_else_is_no_token(text: str) -> None:
    assert parse_token(text) is None

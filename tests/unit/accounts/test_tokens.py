"""Tokens: nothing to forge, and nothing in the database that opens a door."""

import pytest

from perplex_mono.accounts.tokens import family_hash, new_family, new_refresh_token, new_token, parse_token


def test_a_token_is_found_again_and_matches_only_its_own_hash() -> None:
    token = new_token("pma", "0199-row")
    again = parse_token(str(token))
    assert again is not None
    assert (again.kind, again.row_id) == ("pma", "0199-row")
    assert again.matches(token.hash)
    assert not again.matches(new_token("pma", "0199-row").hash)
    assert token.secret not in token.hash


def test_refresh_tokens_of_a_login_are_known_as_such_and_are_not_the_same() -> None:
    family = new_family()
    first, second = new_refresh_token("row", family), new_refresh_token("row", family)
    again = parse_token(str(first))
    assert again is not None
    assert again.family == family
    assert again.is_of_family(family_hash(family))
    assert not again.matches(second.hash)
    assert not new_refresh_token("row", new_family()).is_of_family(family_hash(family))


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

"""The languages that words can be stemmed in, as the vector store spells them; asking it would take seconds to import.

A name it does not know would fail only when the first table is made, after a start that looked well.
"""

import difflib

from perplex_mono.errors import ConfigurationError

NO_STEMMING = "none"
"""Words are found as they stand, stop words among them: for texts in several languages, or in one not listed here."""

STEMMED_LANGUAGES = (
    "Arabic",
    "Danish",
    "Dutch",
    "English",
    "Finnish",
    "French",
    "German",
    "Greek",
    "Hungarian",
    "Italian",
    "Norwegian",
    "Portuguese",
    "Romanian",
    "Russian",
    "Spanish",
    "Swedish",
    "Tamil",
    "Turkish",
)


def text_language(name: str) -> str:
    """The language as the store spells it, in whatever case it is given.

    Raises `ConfigurationError` with the nearest name, or with all of them where none is near.
    """
    spellings = {known.lower(): known for known in (*STEMMED_LANGUAGES, NO_STEMMING)}
    wanted = name.strip().lower()
    if wanted in spellings:
        return spellings[wanted]
    near = difflib.get_close_matches(wanted, spellings, n=1)
    hint = f"Did you mean '{spellings[near[0]]}'?" if near else f"It can be {', '.join(spellings.values())}."
    raise ConfigurationError(
        f"search.language '{name}' is not a language that words can be stemmed in. {hint}"
        f" '{NO_STEMMING}' finds words of any language as they stand."
    )

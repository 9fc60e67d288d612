"""Tokens are counted without the truncation and padding that published tokenizer files carry."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from perplex_mono.errors import ConfigurationError
from perplex_mono.inference.model_files import describe_model
from perplex_mono.inference.model_location import find_model
from perplex_mono.inference.tokenizer import ModelTokenizer, TokenCounter

TOKENIZER = find_model("bundled") / "tokenizer.json"


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return describe_model(find_model("bundled")).token_counter()


def test_a_long_text_is_counted_whole(counter: TokenCounter) -> None:
    assert counter.count("word " * 1000) == 1000
    assert counter.count("") == 0


def test_the_model_spends_two_of_its_256_tokens_itself(counter: TokenCounter) -> None:
    assert (counter.max_tokens, counter.special_tokens) == (256, 2)


def test_a_document_prompt_counts_as_spent() -> None:
    assert TokenCounter(TOKENIZER, max_tokens=256, document_prompt="passage: ").special_tokens == 4


def test_offsets_point_at_characters_of_the_text_itself(counter: TokenCounter) -> None:
    text = "Über 東京, naïve \U0001f600 embeddings"
    pieces = [text[start:end] for start, end in counter.offsets(text)]

    assert pieces == ["Über", "東", "京", ",", "naïve", "\U0001f600", "em", "bed", "ding", "s"]
    assert len(counter.offsets(text)) == counter.count(text)


def test_threads_may_share_a_counter(counter: TokenCounter) -> None:
    texts = ["word " * n for n in range(1, 200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(counter.count, texts)) == list(range(1, 200))


def test_model_input_is_cut_at_the_limit_and_never_padded() -> None:
    tokenizer = ModelTokenizer(TOKENIZER, max_tokens=16)
    long, short = tokenizer.encode(["word " * 50, "word"])

    assert (len(long), long[0], long[-1]) == (16, 101, 102)
    assert short == [101, 2773, 102]


def test_lower_casing_is_added_where_the_model_asks_for_it() -> None:
    plain = TokenCounter(TOKENIZER, max_tokens=16)
    lowered = TokenCounter(TOKENIZER, max_tokens=16, lowercase=True)

    assert lowered.offsets("ÄRZTE Haus") == plain.offsets("ärzte haus")


def test_a_file_that_is_no_tokenizer_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        TokenCounter(TOKENIZER.with_name("config.json"), max_tokens=16)

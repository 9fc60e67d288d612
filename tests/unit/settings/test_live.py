"""Live settings: what is followed changes, everything else holds until the next start."""

from perplex_mono.settings import LiveSettings, Settings
from perplex_mono.settings.live import value_of
from perplex_mono.settings.loading import with_overrides


def test_a_follower_is_told_once_with_all_that_changed() -> None:
    live, told = LiveSettings(Settings()), list[Settings]()
    live.follow(("search.rrf_k", "limits.max_k"), told.append)
    live.change(with_overrides(Settings(), {"search.rrf_k": 3, "limits.max_k": 4}))
    assert [(settings.search.rrf_k, settings.limits.max_k) for settings in told] == [(3, 4)]
    live.change(live.current)
    assert len(told) == 1


def test_what_nobody_follows_stays() -> None:
    live, told = LiveSettings(Settings()), list[Settings]()
    live.follow(("search.rrf_k",), told.append)
    live.change(with_overrides(Settings(), {"ocr.dpi": 300}))
    assert (live.current, told) == (Settings(), [])
    live.change(with_overrides(Settings(), {"ocr.dpi": 300, "search.rrf_k": 3}))
    assert (value_of(live.current, "ocr.dpi"), value_of(live.current, "search.rrf_k")) == (200, 3)
    assert (live.is_followed("search.rrf_k"), live.is_followed("ocr.dpi")) == (True, False)

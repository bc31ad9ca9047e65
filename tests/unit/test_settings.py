"""Settings: one frozen object, each source in its place, mistakes named."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from lightning_state.actors.settings import Settings, SettingsError, public_settings


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_arguments_win_over_environment_over_file_over_defaults(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Settings.read().shards, Settings.read().slots) == (2, 64)
    (nowhere / "lightning-state.toml").write_text("shards = 3\nslots = 16\n[verl]\nmax_validators = 7\n")
    assert (Settings.read().shards, Settings.read().verl.max_validators) == (3, 7)
    monkeypatch.setenv("LIGHTNING_STATE_SHARDS", "4")
    monkeypatch.setenv("LIGHTNING_STATE_VERL__COOLDOWN_S", "1.5")
    read = Settings.read(slots=32)
    assert (read.shards, read.slots, read.verl.cooldown_s, read.verl.max_validators) == (4, 32, 1.5, 7)
    assert Settings.read(shards=5).shards == 5


def test_none_means_not_given() -> None:
    assert Settings.read(shards=None).shards == 2


@pytest.mark.parametrize("given", [{"shardz": 1}, {"shards": 0}, {"store": "mongodb"}, {"service": "No Spaces"}])
def test_a_bad_setting_is_a_typed_error_that_names_it(given: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(given))):
        Settings.read(**given)


def test_a_malformed_file_is_a_typed_error(nowhere: Path) -> None:
    (nowhere / "lightning-state.toml").write_text("shards = = 3")
    with pytest.raises(SettingsError):
        Settings.read()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings.read().shards = 3  # pyright: ignore[reportAttributeAccessIssue]  # the point of the test


def test_what_the_service_tells_everyone_holds_no_secret_and_reads_back() -> None:
    settings = Settings.read(judge={"base_url": "http://127.0.0.1:1", "api_key": "sk-secret"})
    shown = public_settings(settings)
    assert "sk-secret" not in str(shown) + repr(settings)
    assert Settings.published(shown).limits == settings.limits


def test_published_settings_take_nothing_from_the_process_that_reads_them(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = public_settings(Settings.read())
    (nowhere / "lightning-state.toml").write_text('[transitions.agents]\nReady = ["Failed"]\n')
    monkeypatch.setenv("LIGHTNING_STATE_VERL__CONFIDENCE_THRESHOLDS", '{"orders": 0.1}')
    read = Settings.published(shown)
    assert (read.transitions, read.verl.confidence_thresholds) == ({}, {})
    (nowhere / "lightning-state.toml").write_text("not toml [")
    assert Settings.published(shown) == read
    with pytest.raises(ValidationError):
        read.shards = 3  # type: ignore[misc]


def test_settings_of_another_version_are_an_error_with_a_code() -> None:
    with pytest.raises(SettingsError, match="same version"):
        Settings.published({"unheard": "of"})


def test_a_store_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsError, match="store"):
        Settings.read(store="memory")


def test_the_cache_is_set_like_anything_else(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / "lightning-state.toml").write_text("[cache]\nttl_s = 7.5\nsize_bytes = 1000\n")
    monkeypatch.setenv("LIGHTNING_STATE_CACHE__TRACKED_KEYS", "9")
    cache = Settings.read().cache
    assert (cache.enabled, cache.ttl_s, cache.size_bytes, cache.tracked_keys) == (True, 7.5, 1000, 9)
    with pytest.raises(SettingsError, match="ttl_s"):
        Settings.read(cache={"ttl_s": 0})

"""Deployment settings are read from the environment, and a bad one names its variable."""

from __future__ import annotations

import pytest

from home_mixer.settings import HomeMixerSettings, IngesterSettings
from service_kit.settings import SettingsError


def test_retrieval_is_where_the_ranker_is_unless_it_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME_MIXER__PHOENIX_ADDRESS", "ranker:1")
    assert HomeMixerSettings.load().retrieval_target == "ranker:1"
    monkeypatch.setenv("HOME_MIXER__RETRIEVAL_ADDRESS", "retrieval:2")
    assert HomeMixerSettings.load().retrieval_target == "retrieval:2"


def test_home_mixer_and_the_ingester_share_the_store_of_one_data_directory() -> None:
    home_mixer = HomeMixerSettings.load(data_dir="/data")
    ingester = IngesterSettings.load(data_dir="/data")
    assert home_mixer.features_dir == ingester.features_dir
    assert home_mixer.log_dir == ingester.log_dir
    assert home_mixer.feature_map_bytes == ingester.feature_map_bytes


def test_a_value_out_of_bounds_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTER__BATCH_RECORDS", "0")
    with pytest.raises(SettingsError, match="INGESTER__BATCH_RECORDS"):
        IngesterSettings.load()


@pytest.mark.parametrize("address", ["", "thunder", "foo bar"])
def test_an_address_that_nobody_could_ever_answer_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=r"HOME_MIXER__THUNDER_ADDRESS.*host:port of thunder"):
        HomeMixerSettings.load(thunder_address=address)
    assert HomeMixerSettings.load(thunder_address="dns:///thunder:50052", retrieval_address="")


def test_a_share_that_no_ingester_can_have_is_refused() -> None:
    assert IngesterSettings.load(share="1/2").share_of_partitions == (1, 2)
    with pytest.raises(SettingsError, match="the first number is 0 to 1"):
        IngesterSettings.load(share="2/2")


def test_the_stores_of_redis_are_named_as_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://cache:6379/1")
    assert HomeMixerSettings.load().redis_url == "redis://cache:6379/1"
    assert IngesterSettings.load().redis_url == "redis://cache:6379/1"
    with pytest.raises(SettingsError, match=r"HOME_MIXER__REDIS_URL.*redis://"):
        HomeMixerSettings.load(redis_url="cache:6379")


def test_replicas_are_listed_by_number_or_found_by_one_name() -> None:
    """Found at the start, not at the first feed."""
    assert HomeMixerSettings.load(phoenix_address="10.0.0.1:1,10.0.0.2:1")
    assert HomeMixerSettings.load(thunder_address="10.0.0.1:1,10.0.0.2:1;dns:///share-1:1")
    with pytest.raises(SettingsError, match="dns:///name:port"):
        HomeMixerSettings.load(phoenix_address="phoenix-0:1,phoenix-1:1")


def test_shares_of_thunder_are_addressed_one_by_one() -> None:
    two = HomeMixerSettings.load(thunder_address="ipv4:127.0.0.1:1,127.0.0.1:2;dns:///b:50052")
    assert two.thunder_targets == ("ipv4:127.0.0.1:1,127.0.0.1:2", "dns:///b:50052")
    assert HomeMixerSettings.load(thunder_address="host:1").thunder_targets == ("host:1",)
    for address in ("a:1;", ";a:1", "a:1;;b:2", "a:1;b"):
        with pytest.raises(SettingsError, match="separated by ';'"):
            HomeMixerSettings.load(thunder_address=address)

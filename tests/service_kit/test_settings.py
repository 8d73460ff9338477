"""Settings: what wins, and messages that say what came and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from service_kit.settings import ServiceSettings, SettingsError, exit_code_of


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KIT__")


def test_flags_win_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "foryou.toml"
    file.write_text("[kit]\ngrpc_port = 1\nmetrics_port = 2\ndrain_seconds = 3\n[other]\nx = 1\n")
    monkeypatch.setenv("KIT__CONFIG_FILE", str(file))
    monkeypatch.setenv("KIT__GRPC_PORT", "4")
    monkeypatch.setenv("KIT__METRICS_PORT", "5")
    settings = Settings.load(grpc_port=6, metrics_port=None)
    assert (settings.grpc_port, settings.metrics_port, settings.drain_seconds) == (6, 5, 3.0)
    assert settings.grpc_host == "127.0.0.1"


def test_a_value_out_of_bounds_names_field_variable_and_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KIT__GRPC_PORT", "70000")
    with pytest.raises(SettingsError, match=r"grpc_port \(KIT__GRPC_PORT\): got '70000'.*65535"):
        Settings.load()


def test_a_misspelt_variable_is_refused_with_the_likely_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KIT__GPRC_PORT", "1")
    with pytest.raises(SettingsError, match="did you mean KIT__GRPC_PORT"):
        Settings.load()


def test_a_misspelt_key_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "foryou.toml"
    file.write_text("[kit]\ngrpc_prot = 1\n")
    with pytest.raises(SettingsError, match=r"grpc_prot is no setting; did you mean grpc_port\?"):
        Settings.load(config_file=file)


@pytest.mark.parametrize("text", ["grpc_port = 1\n", "[kti]\ngrpc_port = 1\n", ""])
def test_a_file_without_the_services_table_is_no_silent_default(tmp_path: Path, text: str) -> None:
    file = tmp_path / "foryou.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"expected a table \[kit\]"):
        Settings.load(config_file=file)
    file.write_text("[kit]\n")
    assert Settings.load(config_file=file).grpc_port == 0


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml: cannot be read"):
        Settings.load(config_file=tmp_path / "absent.toml")


def test_bad_settings_exit_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    code = exit_code_of(lambda: Settings.load(grpc_port="many"), lambda _: 0)
    assert code == 2
    assert "got 'many'" in capsys.readouterr().err


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} has no description"

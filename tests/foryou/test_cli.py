"""The command must answer at once, say what is wrong in one line and tell programs by exit code."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from foryou.cli import run

COMMANDS = [
    ["demo"],
    ["serve"],
    ["serve", "home-mixer"],
    ["serve", "thunder"],
    ["serve", "phoenix"],
    ["serve", "ingester"],
    ["feed"],
    ["health"],
    ["score"],
    ["train"],
    ["train", "ranker"],
    ["train", "retrieval"],
    ["eval"],
    ["eval", "kuairand"],
    ["bench"],
    ["bench", "pipeline"],
]


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help_is_the_manual_of_every_command(command, capsys):
    assert run([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Usage: foryou" in out
    if command and command not in (["serve"], ["train"], ["eval"]):
        assert "Example" in out


def test_help_imports_nothing_heavy():
    """`foryou --help` must not wait for JAX, numba, gRPC or the services' settings."""
    program = (
        "import sys; from foryou.cli import run; run(['--help']); "
        "heavy = {'jax', 'numba', 'grpc', 'pydantic', 'numpy', 'google.protobuf', 'lmdb'}; "
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["demo", "--users", "many"],
        ["demo", "--users", "3"],
        ["feed"],
        ["feed", "0"],
        ["feed", "7", "--seen", "a,b"],
        ["health"],
        ["score", "--params", "x-1999-01"],
        ["score", "/no/such/file"],
        ["eval", "kuairand", "--data", "/no/such/directory"],
        ["eval", "kuairand", "--data", "/", "--predictions", "/"],
        ["train", "ranker", "--seconds", "-1"],
        ["train", "ranker", "--preset", "huge"],
        ["train", "retrieval", "--checkpoint-every", "0"],
        ["train", "ranker", "--parquet", "a.parquet", "--until-ms", "1"],
        ["serve", "thunder", "--grpc-port", "99999999"],
        ["serve", "thunder", "--no-such-flag", "1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_says_why_without_a_traceback(arguments, capsys):
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_the_version_needs_no_command(capsys):
    """What one asks of an image first."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("foryou 0")


def test_a_setting_out_of_bounds_is_named_with_its_variable(capsys):
    assert run(["serve", "thunder", "--grpc-port", "99999999"]) == 2
    assert "THUNDER__GRPC_PORT" in capsys.readouterr().err


def test_a_feed_without_a_server_says_what_to_run(capsys):
    code = run(["feed", "7", "--address", "127.0.0.1:1", "--timeout-seconds", "1"])
    assert code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "foryou serve home-mixer" in error


def test_debug_shows_the_traceback_and_only_then(capsys):
    run(["--debug", "score", "/no/such/file"])
    assert "Traceback" in capsys.readouterr().err


def test_training_on_nothing_is_an_error_that_says_so(tmp_path, capsys):
    assert run(["train", "ranker", "--data-dir", str(tmp_path)]) == 1
    assert str(tmp_path / "log") in capsys.readouterr().err


def test_scores_come_best_first_from_standard_input(monkeypatch, capsys):
    lines = "\n".join(
        json.dumps({"post_id": post, "author_id": post, "heads": {"favorite": share}})
        for post, share in ((1, 0.1), (2, 0.3), (3, 0.2))
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert run(["score"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["post_id"] for row in rows] == [2, 3, 1]
    assert rows[0]["terms"] == {"favorite": pytest.approx(0.15)}


def test_scores_of_a_bad_line_name_the_line(tmp_path, capsys):
    path = tmp_path / "posts.jsonl"
    path.write_text('{"post_id": 1, "author_id": 1, "heads": {"favorite": 7}}\n')
    assert run(["score", str(path)]) == 1
    error = capsys.readouterr().err
    assert "line 1" in error
    assert "favorite" in error


@pytest.mark.parametrize("name", ["home-mixer", "thunder", "phoenix", "ingester"])
def test_every_setting_of_a_service_is_a_flag(name, capsys, monkeypatch):
    from foryou.commands.serve import ALIASES, SERVICES, settings_class

    monkeypatch.setenv("COLUMNS", "200")
    service = next(service for service in SERVICES if service.name == name)
    run(["serve", name, "--help"])
    out = capsys.readouterr().out
    for field in settings_class(service).model_fields:
        assert f"--{ALIASES.get(field, field).replace('_', '-')}" in out


def test_flags_reach_the_service_as_settings(monkeypatch, tmp_path):
    """A flag that is silently dropped would start a service on the wrong port or directory."""
    import phoenix.server

    started = []
    monkeypatch.setattr(phoenix.server, "main", lambda settings: started.append(settings) or 7)
    code = run(
        [
            *("serve", "phoenix", "--grpc-port", "0", "--data-dir", str(tmp_path)),
            *("--candidate-buckets", "8,32", "--merge-wait-ms", "1.5"),
        ]
    )
    assert code == 7
    (settings,) = started
    assert settings.grpc_port == 0
    assert settings.data_dir == tmp_path
    assert settings.candidate_buckets == (8, 32)
    assert settings.merge_wait_ms == 1.5

"""`run_ranker` and `run_retrieval` name the posts and never invent predictions."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from phoenix import checkpoint as checkpoints
from phoenix import run_ranker, run_retrieval
from phoenix.run_common import SAMPLE_SEQUENCE, SHIPPED, bar
from phoenix.sequence_file import ViewerSequence
from service_kit.ranking_weights import load_table

SEQUENCE = {
    "user_id": 7,
    "now_ms": 1_795_000_000_000,
    "history": [
        {"post_id": 11, "author_id": 2, "actions": ["favorite"], "dwell_seconds": 12.5},
        {"post_id": 12, "author_id": 3, "actions": {"reply": 1, "click": 0}},
    ],
    "candidates": [
        {"post_id": 21, "author_id": 2, "author": "ada", "text": "Tea\nat four"},
        {"post_id": 22, "author_id": 3, "author": "bob", "text": "Rain"},
        {"post_id": 11, "author_id": 2, "author": "ada", "text": "Seen already"},
        {"post_id": 23, "author_id": 7, "author": "me", "text": "My own"},
    ],
}


@pytest.fixture
def sequence_file(tmp_path):
    path = tmp_path / "viewer.json"
    path.write_text(json.dumps(SEQUENCE))
    return path


@pytest.fixture
def ranker_directory(tmp_path, ranker_config, ranker_params):
    directory = tmp_path / "ranker"
    checkpoints.save(directory, step=1, config=ranker_config, params=ranker_params, meta={})
    return directory


@pytest.fixture
def retrieval_directory(tmp_path, retrieval_config, retrieval_params):
    directory = tmp_path / "retrieval"
    checkpoints.save(directory, step=1, config=retrieval_config, params=retrieval_params, meta={})
    return directory


def test_ranking_is_by_weighted_score_and_prints_every_action(
    ranker_directory, sequence_file, ranker_config, capsys
):
    """The original prints "Rank 1: " and nothing after the colon."""
    arguments = ["--checkpoint", str(ranker_directory), "--sequence", str(sequence_file)]
    assert run_ranker.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "post 21 by @ada" in printed
    assert "“Tea at four”" in printed
    assert printed.count("Weighted score") == 4
    for name in ranker_config.action_names:
        assert printed.count(f"  {name.replace('_', ' ').title():<24}: ") == 4

    config, loaded = checkpoints.load_ranker(ranker_directory)
    ranking = run_ranker.rank(config, loaded, ViewerSequence.read(sequence_file))
    weights = load_table()["weights"]
    heads = [weights[name] for name in config.action_names]
    expected = ranking.probabilities @ heads + weights["dwell_time"] * ranking.dwell_seconds
    assert np.allclose(ranking.scores, expected)
    assert (np.diff(ranking.scores) <= 0).all()


def test_retrieval_prints_ids_and_leaves_out_seen_and_own_posts(
    retrieval_directory, sequence_file, capsys
):
    """Weakness P6 and P10: indices for ids, and posts that the viewer has had."""
    arguments = ["--checkpoint", str(retrieval_directory), "--sequence", str(sequence_file)]
    assert run_retrieval.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "21" in printed
    assert "@bob: Rain" in printed
    assert "Seen already" not in printed
    assert "My own" not in printed


@pytest.mark.parametrize("runner", [run_ranker, run_retrieval])
def test_without_a_checkpoint_there_are_no_predictions(runner, tmp_path, sequence_file, capsys):
    """Random parameters print numbers that look like predictions."""
    arguments = ["--checkpoint", str(tmp_path / "none"), "--sequence", str(sequence_file)]
    assert runner.main(arguments) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "no checkpoint in" in output.err
    assert "train" in output.err


def test_a_viewer_without_history_is_ranked(ranker_directory, tmp_path, capsys):
    """Everybody is new once."""
    path = tmp_path / "new.json"
    path.write_text(json.dumps({**SEQUENCE, "history": []}))
    arguments = ["--checkpoint", str(ranker_directory), "--sequence", str(path), "--top-k", "1"]
    assert run_ranker.main(arguments) == 0
    assert "Rank 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_id": "x"}, "user_id must be an integer"),
        ({"user_id": -1}, "user_id must be an integer"),
        ({"history": {}}, "history must be a list"),
        ({"history": [3]}, r"history\[0\] must be an object"),
        ({"history": [{"post_id": 1, "author_id": 1, "actions": "favorite"}]}, "list of names"),
        ({"history": [{"post_id": 1, "author_id": 1, "dwell_seconds": -1}]}, "dwell_seconds"),
        ({"history": [{"post_id": 1, "author_id": 1, "dwell_seconds": math.nan}]}, "dwell_seconds"),
        ({"history": [{"post_id": 1, "author_id": 1, "dwell_seconds": math.inf}]}, "dwell_seconds"),
        ({"history": [{"post_id": 1, "author_id": 1, "actions": ["frown"]}]}, "frown"),
        ({"candidates": [{"post_id": 1}]}, "author_id must be an integer"),
        ({"candidates": []}, "no candidates"),
    ],
)
def test_bad_sequences_say_what_and_where(ranker_directory, tmp_path, capsys, change, message):
    """A typing error in a hand-written file is found by reading one sentence."""
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**SEQUENCE, **change}))
    arguments = ["--checkpoint", str(ranker_directory), "--sequence", str(path)]
    assert run_ranker.main(arguments) == 1
    assert re.search(message, capsys.readouterr().err)


def test_a_file_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"broken\.json cannot be read as JSON"):
        ViewerSequence.read(path)


@pytest.mark.parametrize("top_k", ["0", "-1", "many"])
def test_a_senseless_top_k_is_wrong_usage(top_k, capsys):
    """The message must say what to give, not which function refused it."""
    with pytest.raises(SystemExit) as stopped:
        run_ranker.main(["--top-k", top_k])
    assert stopped.value.code == 2
    assert "must be a whole number of at least 1" in capsys.readouterr().err


def test_bars_have_twenty_cells():
    """Bars of different lengths cannot be compared by eye."""
    assert [bar(p).count("█") for p in (0.0, 0.5, 1.0, 1.5)] == [0, 10, 20, 20]
    assert {len(bar(p)) for p in (0.0, 0.33, 1.0)} == {20}


def test_the_shipped_checkpoints_are_small_and_rank_the_shipped_sample(capsys):
    """`uv run phoenix/run_ranker.py` in a clean clone needs nothing else."""
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= 5_000_000
    sequence = ViewerSequence.read(SAMPLE_SEQUENCE)
    config, loaded = checkpoints.load_ranker(SHIPPED / "ranker")
    ranking = run_ranker.rank(config, loaded, sequence)
    assert ranking.scores.std() > 0.01
    assert all(post.text and post.author for post in ranking.posts)
    assert run_retrieval.main([]) == 0
    assert "Phoenix retrieval" in capsys.readouterr().out

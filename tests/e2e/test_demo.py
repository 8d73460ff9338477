"""`foryou demo`, as a stranger runs it, on a small world."""

from __future__ import annotations

from home_mixer.params import load_params

FIELDS = {
    "time_to_first_feed_seconds",
    "phases",
    "viewer_id",
    "posts",
    "captured_engagement",
    "addresses",
}


def test_json_is_one_object_with_the_fields_that_programs_read(demo_run):
    result = demo_run.result
    assert demo_run.stdout.count("\n") == 1
    assert set(result) >= FIELDS
    assert all(phase["seconds"] >= 0 and phase["name"] for phase in result["phases"])
    assert set(result["addresses"]) == {"home-mixer", "thunder", "phoenix", "ingester"}
    assert result["degraded_reasons"] == []


def test_feed_has_twenty_posts_best_first_each_with_text_and_terms(demo_run):
    posts = demo_run.result["posts"]
    assert len(posts) >= 20
    scores = [post["score"] for post in posts]
    assert scores == sorted(scores, reverse=True)
    assert all(post["text"] and post["terms"] for post in posts)
    assert len({post["post_id"] for post in posts}) == len(posts)


def test_terms_of_each_post_are_of_the_parameters_heads(demo_run):
    heads = set(load_params().weights)
    for post in demo_run.result["posts"]:
        terms = post["terms"]
        names = set(terms) if isinstance(terms, dict) else {term["head"] for term in terms}
        assert names <= heads


def test_feed_ranks_better_than_newest_first_even_after_seconds_of_training(demo_run):
    captured = demo_run.result["captured_engagement"]
    assert captured["ours"] > 0.1
    assert demo_run.result["judged_viewers"] >= 100

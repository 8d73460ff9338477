"""A ranker in kernels from end to end beside the same ranker in XLA, and the parts at its ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import pytest

from phoenix.config import RankerConfig, ranker_preset
from phoenix.fused import answers
from phoenix.fused.blocks import multiply_float_block
from phoenix.fused.ends import knows
from phoenix.fused.instructions import PANEL, ROWS, has_byte_instructions, has_instructions, kernel
from phoenix.fused.pack_ends import bounds
from phoenix.fused.viewers import WholeRanker
from phoenix.ranker import Ranker
from phoenix.serving.buckets import Shapes
from phoenix.serving.loading import made_up_candidates, made_up_context
from phoenix.serving.precision import PACKED, WHOLE, resident
from phoenix.serving.programs import compile_ranker
from phoenix.serving.served import ServedRanker
from phoenix.tokens import GAP_BUCKETS, gap_bucket, post_age_bucket

pytestmark = pytest.mark.skipif(
    not has_instructions(), reason="the kernels need a processor with AVX-512 BF16"
)
EVENTS, COUNT = 21, 2 * ROWS + 3
CONFIGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one hash": {"num_hashes": 1},
    "authors are not matched": {"author_match": False},
    "no taste profile": {"profile_channels": 0},
    "neither": {"profile_channels": 0, "author_match": False},
    "masked as the original": {"causal": True, "dwell_scale_seconds": 5.0},
    "odd sizes": {"embedding_width": 7, "profile_channels": 3, "width": 18, "num_surfaces": 3},
    "wide": {"width": 64, "heads": 4, "kv_heads": 2, "key_size": 16, "embedding_width": 24},
    "fine ages": {"post_age_granularity_minutes": 7, "post_age_max_minutes": 100},
    "few actions": {"action_names": ("favorite", "reply", "block")},
}
UNKNOWN: dict[str, dict[str, Any]] = {
    "tags": {"tag_rows": 50},
    "durations": {"durations": True},
    "hours": {"time_of_day": True},
    "rates": {"rates": True},
    "contents": {"content_width": 4},
    "a wide part": {"wide_action": "favorite"},
    "float32": {"compute_dtype": "float32"},
    "an odd width": {"width": 31},
}


@cache
def drawn(config: RankerConfig) -> dict[str, Any]:
    """Parameters with which every part of the model speaks."""
    rng = np.random.default_rng(7)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        centre = 1.0 if "norm" in jax.tree_util.keystr(path) else 0.0
        return (centre + rng.normal(0, 0.3, leaf.shape)).astype(np.float32)

    shapes = jax.eval_shape(lambda: Ranker(config).init(0))
    return jax.tree_util.tree_map_with_path(draw, shapes)


@cache
def predict(config: RankerConfig) -> Any:
    return jax.jit(Ranker(config).predict)


class Model:
    """A small ranker, one viewer, and candidates some of whose authors the viewer has met."""

    def __init__(self, history: int = EVENTS, head_scale: float = 1.0, **changes: Any) -> None:
        sizes = {"history_length": EVENTS, "compute_dtype": "bfloat16", **changes}
        self.config = ranker_preset("nano", **sizes)
        self.params = jax.tree.map(np.copy, drawn(self.config))
        self.params["dense"]["ranker"]["head"] *= np.float32(head_scale)
        rng = np.random.default_rng(8)
        mask = np.arange(EVENTS)[None] >= EVENTS - history
        actions = rng.random((1, EVENTS, self.config.num_actions)) < 0.3
        actions[0, ::5] = False
        self.context = made_up_context(self.config, rng)._replace(
            history_mask=mask,
            history_actions=actions.astype(np.float32) * mask[..., None],
            history_surface=rng.integers(0, self.config.num_surfaces, (1, EVENTS), np.int32),
        )
        self.candidates = self._asked(rng)
        self.resident = resident(self.config, self.params)
        self.whole = WholeRanker(self.config, 2)

    def _asked(self, rng: np.random.Generator) -> Any:
        made = made_up_candidates(self.config, rng, COUNT)
        authors = made.author_hashes.copy()
        authors[0, ::2] = self.context.history_author_hashes[0, rng.integers(0, EVENTS, 16)]
        authors[0, 2, 0] = authors[0, 4, -1] = authors[0, 1] = 0  # no author, or half of one
        ages = np.where(rng.random((1, COUNT)) < 0.2, -1, rng.exponential(9e4, (1, COUNT)))
        surfaces = rng.integers(0, self.config.num_surfaces, (1, COUNT), np.int32)
        return made._replace(
            author_hashes=authors, age_seconds=ages.astype(np.float32), surface=surfaces
        )

    def kernels(self) -> tuple[np.ndarray, np.ndarray]:
        parameters = self.resident[WHOLE]
        viewer = self.whole.encode(parameters, self.context)
        return self.whole.score(parameters, viewer, self.candidates)

    def plain(self, dtype: str) -> tuple[np.ndarray, np.ndarray]:
        answer = predict(replace(self.config, compute_dtype=dtype))
        found = answer(self.params, self.context, self.candidates)
        return np.asarray(found.log_probs), np.asarray(found.dwell_seconds)


@pytest.mark.parametrize("history", [8, EVENTS])
@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_answers_are_those_of_the_model(changes: dict[str, Any], history: int) -> None:
    """A feed scored in kernels must be as near to float32 as one that XLA scores in bfloat16."""
    model = Model(history, **changes)
    exact, rounded = model.plain("float32"), model.plain("bfloat16")
    limits = (1.2, 2.0)  # there are few seconds, and one context's error is in all of them
    for ours, theirs, true, limit in zip(model.kernels(), rounded, exact, limits, strict=True):
        assert ours.shape == true.shape
        error, unavoidable = (np.sqrt(np.mean((x - true) ** 2)) for x in (ours, theirs))
        assert 0 < error <= limit * unavoidable


@pytest.mark.parametrize("history", [0, EVENTS])
@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_facts_are_those_of_the_model(changes: dict[str, Any], history: int) -> None:
    """What is known of a candidate must reach its answers as the model was trained with it: to the
    last digits, where nothing but float32 is asked."""
    model = Model(history, head_scale=0.0, **changes)
    for ours, true in zip(model.kernels(), model.plain("float32"), strict=True):
        np.testing.assert_allclose(ours, true, rtol=3e-5, atol=3e-6)


def test_what_is_counted_is_part_of_the_answers() -> None:
    """The test above must see each fact: an answer without one of them is another."""
    model = Model(head_scale=0.0)
    before, _ = model.kernels()
    others = {
        "surface": model.candidates.surface[:, ::-1],
        "age_seconds": model.candidates.age_seconds[:, ::-1],
        "post_hashes": model.candidates.post_hashes[:, ::-1],
        "author_hashes": model.candidates.author_hashes[:, ::-1],
    }
    for name, values in others.items():
        changed = Model(head_scale=0.0)
        changed.candidates = changed.candidates._replace(**{name: values})
        assert np.abs(changed.kernels()[0] - before).max() > 0.01, name
    silent = model.context._replace(history_actions=0 * model.context.history_actions)
    model.context = silent
    assert np.abs(model.kernels()[0] - before).max() > 0.01


@pytest.mark.parametrize(
    ("bucket", "buckets"),
    [
        (gap_bucket, GAP_BUCKETS),
        (partial(post_age_bucket, granularity_minutes=60, max_minutes=4_800), 82),
    ],
)
def test_ages_fall_into_the_models_buckets(bucket: Any, buckets: int) -> None:
    """An age must be in the bucket that training saw, but for XLA's last digit at the very edge,
    which is another for another number of ages."""
    begins = bounds(bucket, buckets)
    near = [begins * np.float32(1 + side) for side in (-1e-6, 1e-6)]
    random = np.random.default_rng(0).exponential(1e6, 10_000).astype(np.float32)
    ages = np.concatenate([*near, random, [-1.0, 0.0, 1e30]]).astype(np.float32)
    assert np.array_equal(np.searchsorted(begins, ages, "right"), np.asarray(bucket(ages)))


def test_a_row_out_of_range_is_seen() -> None:
    """A broken hash must show as a number that is not finite, in its candidate alone."""
    model = Model()
    hashes = model.candidates.post_hashes.copy()
    hashes[0, 5, 1], hashes[0, 9, 0] = model.config.post_rows, -1
    model.candidates = model.candidates._replace(post_hashes=hashes)
    log_probs, seconds = model.kernels()
    broken = np.isin(np.arange(COUNT), (5, 9))
    assert np.array_equal(np.isnan(log_probs[0]).all(axis=1), broken)
    assert np.array_equal(np.isnan(seconds[0]), broken)
    assert np.isfinite(log_probs[0, ~broken]).all()


def test_any_number_on_any_threads_is_the_same() -> None:
    """A candidate's score must not depend on the others, nor on how many cores there are."""
    model = Model()
    parameters = model.resident[WHOLE]
    viewer = model.whole.encode(parameters, model.context)
    every, _ = model.whole.score(parameters, viewer, model.candidates)
    for threads in (1, 3):
        other = WholeRanker(model.config, threads)
        assert np.array_equal(other.score(parameters, viewer, model.candidates)[0], every)
    for at in (0, 7, COUNT - 1):
        one = jax.tree.map(lambda values: values[:, at : at + 1], model.candidates)  # noqa: B023
        assert np.array_equal(model.whole.score(parameters, viewer, one)[0][0, 0], every[0, at])


def test_calls_at_once_do_not_mix() -> None:
    """Two feeds that are scored at the same moment must not see each other's numbers."""
    models = [Model(history) for history in (3, 9, EVENTS)]
    shared, parameters = models[0].whole, models[0].resident[WHOLE]

    def answer(model: Model) -> np.ndarray:
        viewer = shared.encode(parameters, model.context)
        return shared.score(parameters, viewer, model.candidates)[0]

    alone = [answer(model) for model in models]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(answer, models * 10))
    assert all(np.array_equal(x, y) for x, y in zip(found, alone * 10, strict=True))


@pytest.mark.parametrize("changes", UNKNOWN.values(), ids=UNKNOWN)
def test_other_models_keep_their_programs(changes: dict[str, Any]) -> None:
    """A model that reads more than the kernels know must not be scored without it."""
    assert knows(ranker_preset("nano", compute_dtype="bfloat16"))
    config = ranker_preset("nano", **{"compute_dtype": "bfloat16", **changes})
    assert not knows(config)


@pytest.mark.parametrize("name", ["durations", "a wide part"])
def test_their_layers_alone_are_in_a_kernel(name: str) -> None:
    """A model with inputs of its own must be served in bfloat16, and read all of them."""
    model = Model(**UNKNOWN[name])
    assert PACKED in model.resident
    assert WHOLE not in model.resident
    shapes = Shapes(candidate_buckets=(COUNT,), merged_viewers=2)
    served = ServedRanker(
        "one", compile_ranker(model.config, model.resident, shapes), model.resident
    )
    found = served.score_one(served.encode(model.context), model.candidates, COUNT)
    exact, rounded = (model.plain(dtype)[0][0] for dtype in ("float32", "bfloat16"))
    error, unavoidable = (np.sqrt(np.mean((x - exact) ** 2)) for x in (found.log_probs, rounded))
    assert 0 < error <= 1.5 * unavoidable


@pytest.mark.skipif(not has_byte_instructions(), reason="needs a processor with AVX-512 VNNI")
def test_bytes_are_of_the_layers_alone() -> None:
    """int8 weights must cost the layers a few digits, and what is known of a candidate none."""
    model, facts = Model(), Model(head_scale=0.0)
    before, exact = model.kernels()[0], model.plain("float32")[0]
    for one in (model, facts):
        one.resident = resident(one.config, one.params, of_bytes=True)
    found = model.kernels()[0]
    assert np.abs(found - before).max() > 0
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.1 * exact.std()
    np.testing.assert_allclose(facts.kernels()[0], facts.plain("float32")[0], rtol=3e-5, atol=3e-6)


def test_no_new_input_goes_unread() -> None:
    """Who gives the ranker another input must decide here whether the kernels read it: what is
    listed they read, or `knows` asks for it."""
    judged = """width layers heads kv_heads key_size widening history_length embedding_width
        num_hashes user_rows post_rows author_rows action_names num_surfaces
        post_age_granularity_minutes post_age_max_minutes causal compute_dtype action_list_version
        author_match profile_channels dwell_scale_seconds tag_rows tags_max durations time_of_day
        rates content_width wide_action wide_width wide_share"""
    assert {field.name for field in fields(RankerConfig)} == set(judged.split())


def test_one_after_another_are_merged() -> None:
    """Viewers who are scored in one call must get what they would get alone, from kernels too."""
    model, shapes = Model(), Shapes(candidate_buckets=(COUNT,), merged_viewers=2)
    programs = compile_ranker(model.config, model.resident, shapes)
    assert programs.is_whole
    served = ServedRanker("one", programs, model.resident)
    caches = [served.encode(Model(history).context) for history in (4, EVENTS)]
    merged = served.score_merged(caches, [model.candidates] * 2)
    for viewer, found in zip(caches, merged, strict=True):
        alone = served.score_one(viewer, model.candidates, COUNT)
        assert np.array_equal(alone.log_probs, found.log_probs)
    assert np.abs(merged[0].log_probs - merged[1].log_probs).max() > 0.01


def test_float_products_of_small_integers_are_exact() -> None:
    """A packed number in the wrong place would make every answer wrong."""

    @kernel
    def product(left, right, steps, out):
        multiply_float_block(left, 1, right, 0, steps, out, 3)

    rng = np.random.default_rng(0)
    left = rng.integers(-9, 9, (ROWS + 2, 40)).astype(np.float32)
    right = rng.integers(-9, 9, (31, PANEL)).astype(np.float32)
    out = np.full((ROWS + 3, PANEL + 4), 7.0, np.float32)
    product(left, right.reshape(-1), 31, out)
    assert np.array_equal(out[1 : ROWS + 1, 3 : PANEL + 3], left[1 : ROWS + 1, :31] @ right)
    out[1 : ROWS + 1, 3 : PANEL + 3] = 7.0
    assert (out == 7.0).all()


def test_log_probabilities_are_those_of_numpy() -> None:
    """Rare actions' probabilities are told by logarithms far below zero: their digits count."""

    @kernel
    def all_of(x, out):
        for i in range(len(x)):
            out[i] = answers.log_sigmoid(x[i])

    x = np.concatenate([np.linspace(-60, 80, 70_001), np.linspace(-2, 2, 40_001), [np.nan]])
    x = x.astype(np.float32)
    out = np.empty_like(x)
    all_of(x, out)
    assert np.isnan(out[-1])
    true = -np.logaddexp(0.0, -x[:-1].astype(np.float64))
    np.testing.assert_allclose(out[:-1], true, rtol=1e-6)

"""What a model may read beside ids: unknown where nobody says, masked where unrecorded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phoenix.config import RankerConfig, ranker_preset
from phoenix.features import contents, hours, optional_inputs
from phoenix.losses import ranker_loss
from phoenix.ranker import Ranker, RankerOutput, dummy_candidates, dummy_context
from phoenix.rates import affinity
from phoenix.serving.loading import made_up_candidates, made_up_context

EVERYTHING = {
    "tag_rows": 16, "durations": True, "time_of_day": True, "rates": True, "content_width": 4
}  # fmt: skip


def test_a_caller_that_knows_nothing_is_taken():
    """Serving and older logs carry no tags; they must get unknown inputs, not an error."""
    config = ranker_preset("nano", **EVERYTHING)
    mask = np.ones((1, 3), bool)
    tags, durations = optional_inputs(config, mask)
    assert tags.shape == (1, 3, config.tags_max)
    assert not tags.any()
    assert (durations == -1).all()
    assert not hours(config, None, mask).any()
    assert contents(config, None, mask).shape == (1, 3, 4)
    plain = ranker_preset("nano")
    assert optional_inputs(plain, mask, np.ones((1, 3, 1), np.int64)) == (None, None)


def test_hours_are_those_of_the_day_in_utc():
    """An hour off and every evening is learnt as another time of day."""
    at_ms = np.array([0, 1, 25 * 3_600_000])
    found = hours(ranker_preset("nano", time_of_day=True), at_ms, np.ones((3, 1), bool))
    assert found[:, 0].tolist() == [0, 1, 2]


def test_content_of_another_width_is_refused():
    """A matrix of the wrong width would fail deep in the model without saying why."""
    config = ranker_preset("nano", content_width=4)
    with pytest.raises(ValueError, match="content_width"):
        contents(config, np.zeros((1, 1, 3)), np.ones((1, 1), bool))


def test_every_input_changes_the_shapes_of_the_model_and_none_of_its_outputs():
    """A model with all inputs is asked and answers like any other."""
    config = ranker_preset("nano", **EVERYTHING)
    ranker = Ranker(config)
    params = ranker.init(0)
    assert {"tag", "post_rates", "author_rates", "user_rates", "tag_rates"} <= set(params["tables"])
    inputs = dummy_context(config, 2, 5), dummy_candidates(config, 2, 3)
    output = jax.eval_shape(ranker.predict, params, *inputs)
    assert output.logits.shape == (2, 3, config.num_actions)
    assert RankerConfig.from_json(config.to_json()) == config


def test_with_every_input_a_score_depends_on_the_viewer_and_the_post_alone():
    """A post's place would depend on which others were asked for (weakness P1)."""
    config = ranker_preset("nano", layers=1, **EVERYTHING)
    rng = np.random.default_rng(5)
    ranker = Ranker(config)
    params = ranker.init(0)
    counts = {n: rng.integers(0, 50, t.shape) for n, t in params["tables"].items() if "_" in n}
    params["tables"] |= {n: jnp.asarray(np.sort(t), jnp.float32) for n, t in counts.items()}
    context = made_up_context(config, rng)
    candidates = made_up_candidates(config, rng, 5)
    predict = jax.jit(lambda context, candidates: ranker.predict(params, context, candidates))
    whole = predict(context, candidates).logits
    assert float(jnp.abs(whole[:, 1:] - whole[:, :1]).max()) > 0.01
    some = predict(context, jax.tree.map(lambda values: values[:, [3, 1]], candidates)).logits
    np.testing.assert_allclose(some, whole[:, [3, 1]], atol=1e-5)


def loss_of(logits, labels, known, listwise_weight=0.0):
    output = RankerOutput(logits, jnp.zeros(labels.shape[:2]), jnp.zeros(labels.shape[:2]))
    dwell, weight = jnp.full(labels.shape[:2], jnp.nan), jnp.ones(labels.shape[:2])
    ones = jnp.ones(labels.shape[-1])
    return ranker_loss(output, labels, dwell, weight, ones, 0.0, known, listwise_weight)[0]


@pytest.mark.parametrize("listwise_weight", [0.0, 1.0])
def test_what_nobody_recorded_teaches_nothing(listwise_weight):
    """A missing label read as a refusal would teach that old posts are never liked."""
    logits, labels = jnp.array([[[0.3, -1.0], [1.0, 2.0]]]), jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
    known = jnp.array([[[True, True], [True, False]]])
    gradient = jax.grad(loss_of)(logits, labels, known, listwise_weight)
    assert gradient[0, 1, 1] == 0
    assert (gradient[0, :, 0] != 0).all()
    assert np.isfinite(np.asarray(gradient)).all()


def test_the_listwise_term_is_the_softmax_within_a_context():
    """It must push a viewer's positive above their negatives, and nothing else."""
    logits, labels = jnp.array([[[2.0], [0.5], [1.0]]]), jnp.array([[[0.0], [1.0], [0.0]]])
    known = jnp.ones((1, 3, 1), bool)
    term = loss_of(logits, labels, known, 1.0) - loss_of(logits, labels, known)
    shares = np.exp([2.0, 0.5, 1.0])
    assert float(term) == pytest.approx(-np.log(shares[1] / shares.sum()) / 3, rel=1e-5)


def test_affinity_is_zero_without_a_match_and_signed_with_one():
    """A viewer who skips a tag must differ from one who never met it."""
    past = jnp.array([[[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]])  # action, one; the last is padding
    same = jnp.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    found = np.asarray(affinity(same, past))[0, :, 0]
    assert found[0] == 0
    assert found[1] > 0 > found[2]

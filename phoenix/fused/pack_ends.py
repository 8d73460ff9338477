"""From a ranker's parameters to what kernels read before and behind its layers.

Glossary as in `phoenix.fused.ends`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from phoenix.config import RankerConfig
from phoenix.fused.ends import Ends, Opening, Whole
from phoenix.fused.packing import halves, packed, packed_floats, whole
from phoenix.fused.steps import Floats, Layers
from phoenix.tokens import GAP_BUCKETS, gap_bucket, post_age_bucket

_FLOAT_BITS_MAX = 0x7F80_0000  # of +infinity: the bits of numbers from 0 on ascend as they do


def packed_whole(
    config: RankerConfig, dense: Mapping[str, Any], tables: Mapping[str, Any], layers: Layers
) -> Whole:
    """Of a ranker's parameters; tables that lie in memory are shared with whoever holds them."""
    head, tokens = (
        {name: np.asarray(value) for name, value in dense[module].items()}
        for module in ("ranker", "ranker/~/tokens")
    )
    held = {name: np.asarray(table) for name, table in tables.items()}
    return Whole(layers, _ends(config, head, tokens, held), _opening(config, head, tokens, held))


def bounds(bucket: Callable[[Any], Any], buckets: int) -> Floats:
    """[buckets - 1] the least seconds, from 0 on, that are in the second and in later buckets.

    Found by halving the float32 numbers, so that the model's function alone says where they are.
    """
    wanted = np.arange(1, buckets)
    asked = jax.jit(bucket)
    low, high = np.zeros(buckets - 1, np.int64), np.full(buckets - 1, _FLOAT_BITS_MAX)
    while (low < high).any():
        middle = (low + high) // 2
        is_there = np.asarray(asked(middle.astype(np.int32).view(np.float32))) >= wanted
        low, high = np.where(is_there, low, middle + 1), np.where(is_there, middle, high)
    return low.astype(np.int32).view(np.float32)


def _ends(config: RankerConfig, head: Any, tokens: Any, tables: Any) -> Ends:
    rows, each = 2 * config.num_hashes * config.embedding_width, config.embedding_width
    parts = partial(_parts, rows=rows, each=each)
    token, token_surface, token_age = parts(tokens["candidate"])
    direct, answer_surface, answer_age = parts(head["direct"])
    surfaces, ages = tokens["surface"], tokens["post_age"]
    age_of = partial(
        post_age_bucket,
        granularity_minutes=config.post_age_granularity_minutes,
        max_minutes=config.post_age_max_minutes,
    )
    biased = _product(surfaces, answer_surface) + head["head_bias"]
    return Ends(
        posts=tables["post"],
        authors=tables["author"],
        token=packed(halves(token)),
        token_surface=_product(surfaces, token_surface),
        token_age=_product(ages, token_age),
        ages_from=bounds(age_of, config.post_age_buckets),
        norm=head["norm_final"],
        answer=packed_floats(np.concatenate([direct, head["head"]])),
        answer_surface=_in_panels(biased),
        answer_age=_in_panels(_product(ages, answer_age)),
        seconds=np.exp(head["dwell_mean_log"]).reshape(1),
    )


def _parts(matrix: Floats, rows: int, each: int) -> tuple[Floats, Floats, Floats]:
    """Rows of the facts that kernels make, of the surface, of the age: `candidate_features`."""
    surface, age = matrix[rows : rows + each], matrix[rows + each : rows + 2 * each]
    return np.concatenate([matrix[:rows], matrix[rows + 2 * each :]]), surface, age


def _opening(config: RankerConfig, head: Any, tokens: Any, tables: Any) -> Opening:
    each, channels = config.embedding_width, config.profile_channels
    rows, own = 2 * config.num_hashes * each, config.num_hashes * each
    ends = rows + each * np.arange(5)
    of_rows, actions, surface, gap, dwell = np.split(tokens["history"], ends[:-1])
    matrix = [
        of_rows,
        _product(tokens["actions"], actions),
        _product(tokens["dwell_output"], dwell),
    ]
    past = config.num_actions + 2
    return Opening(
        users=tables["user"],
        user_token=packed(halves(tokens["user"])),
        user_bias=tokens["user_bias"],
        event_token=packed(halves(np.concatenate(matrix))),
        event_surface=_product(tokens["surface"], surface),
        event_gap=_product(tokens["time_gap"], gap),
        gaps_from=bounds(gap_bucket, GAP_BUCKETS),
        dwell_hidden=tokens["dwell_hidden"],
        dwell_bias=tokens["dwell_bias"],
        dwell_scale=np.array([config.dwell_scale_seconds], np.float32),
        profile_past=head["profile_past"] if channels else np.zeros((past, 0), np.float32),
        profile_user=head["profile_user"] if channels else np.zeros((own, 0), np.float32),
        item=head["profile_item"] if channels else np.zeros((rows, each), np.float32),
    )


def _product(x: Floats, y: Floats) -> Floats:
    """Rounded once, at its end."""
    return (x.astype(np.float64) @ y.astype(np.float64)).astype(np.float32)


def _in_panels(values: Floats) -> Floats:
    """[N, O] → [N, O in whole panels], zeros behind."""
    return np.pad(values, ((0, 0), (0, whole(values.shape[1]) - values.shape[1])))

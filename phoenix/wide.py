"""The ranker's wide part: a factorisation machine beside the network, for one action's logit.

Glossary: B batch, C candidates, J hashes of an id, K factors, A actions, M features of a row.

    wide = Σ_f w_f + ½ (|Σ_f v_f|² − Σ_f |v_f|²)              (Rendle, ICDM 2010)
    logit = (1 − share) · deep + share · wide

over the first hash rows of viewer, post and author, the tags, the surface and the duration. What
knows single ids and what generalises err in different places, so a mean is better than either (Wide
& Deep, Cheng et al., DLRS 2016). Deviation: there both parts are trained jointly; here the machine
is fitted by itself (`phoenix.data.wide`) and the network learns without it, as each is best under
its own regularisation. Tables `<name>_wide` [rows, 1 + K] hold w and v, row 0 zeros; the machine's
bias is in the surfaces', as every candidate has one. Two rows an id, added, would move at twice the
rate and were worse (docs/ranking.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phoenix.config import RankerConfig
from phoenix.features import CandidateInputs, ContextInputs
from phoenix.tokens import DURATION_BUCKETS, duration_bucket

Array = jax.Array
WIDE = "_wide"


def wide_table_shapes(config: RankerConfig) -> dict[str, tuple[int, int]]:
    """Tables by name, in the order of a row's features; none where there is no wide part."""
    if not config.wide_action:
        return {}
    rows = {"user": config.user_rows, "post": config.post_rows, "author": config.author_rows}
    if config.tag_rows:
        rows["tag"] = config.tag_rows
    rows["surface"] = config.num_surfaces
    if config.durations:
        rows["duration"] = DURATION_BUCKETS
    return {f"{name}{WIDE}": (count, 1 + config.wide_width) for name, count in rows.items()}


def viewer_facts(config: RankerConfig, tables: Mapping[str, Any], of: ContextInputs) -> Any:
    """[B, 2 + K] of the viewers: Σ w, Σ |v|², Σ v; None where there is no wide part."""
    if not config.wide_action:
        return None
    return _facts([_rows(tables, "user", of.user_hashes[..., :1])])


def candidate_facts(config: RankerConfig, tables: Mapping[str, Any], of: CandidateInputs) -> Any:
    """[B, C, 2 + K] of the candidates with their surface; None where there is no wide part."""
    if not config.wide_action:
        return None
    rows = [
        _rows(tables, "post", of.post_hashes[..., :1]),
        _rows(tables, "author", of.author_hashes[..., :1]),
        _rows(tables, "surface", jnp.asarray(of.surface)[..., None]),
    ]
    if of.tag_hashes is not None:
        rows.append(_rows(tables, "tag", of.tag_hashes))
    if of.duration_seconds is not None:
        buckets = duration_bucket(jnp.asarray(of.duration_seconds))[..., None]
        rows.append(_rows(tables, "duration", buckets))
    return _facts(rows)


def wide_logits(viewers: Array, candidates: Array) -> Array:
    """[B, 2 + K] and [B, C, 2 + K] → [B, C]."""
    both = viewers[:, None] + candidates
    weight, squares, factors = both[..., 0], both[..., 1], both[..., 2:]
    return weight + 0.5 * (jnp.square(factors).sum(axis=-1) - squares)


def mixed(config: RankerConfig, logits: Array, wide: Array) -> Array:
    """Logits [B, C, A], the wide action's drawn to `wide` [B, C] by the configured share."""
    at = config.action_names.index(config.wide_action)
    deep = logits[..., at]
    return logits.at[..., at].set(deep + config.wide_share * (wide - deep))


def _rows(tables: Mapping[str, Any], name: str, at: Any) -> Array:
    found = jnp.take(jnp.asarray(tables[name + WIDE]), at, axis=0, mode="fill")
    return found.astype(jnp.float32)


def _facts(rows: Sequence[Array]) -> Array:
    """Rows [..., M, 1 + K] of features → [..., 2 + K]: Σ w, Σ |v|², Σ v."""
    joined = jnp.concatenate(rows, axis=-2)
    squares = jnp.square(joined[..., 1:]).sum(axis=(-2, -1))
    summed = joined.sum(axis=-2)
    return jnp.concatenate([summed[..., :1], squares[..., None], summed[..., 1:]], axis=-1)

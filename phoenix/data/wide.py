"""Fits the ranker's wide part: tables of a factorisation machine (`phoenix.wide`).

N rows, M features of a row, F features, K factors.

Every training row whose outcome is known counts once, whatever it weighs in the network's loss: a
row that is repeated is learned by heart (docs/ranking.md). Features are the hash rows that serving
will read, of an id its first alone; two ids that share a row share it here, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from phoenix import factorisation
from phoenix.config import RankerConfig
from phoenix.data.impressions import Impressions
from phoenix.features import author_hashes, post_hashes, tag_hashes, user_hashes
from phoenix.tokens import duration_bucket
from phoenix.wide import WIDE, wide_table_shapes

# Chosen on 26 and 27 April of KuaiRand-Pure, docs/ranking.md.
EPOCHS = 5
LEARNING_RATE = 0.02
PENALTY = 0.02
SCALE = 0.01  # standard deviation of factors at the start

_Features = Mapping[str, NDArray[np.int64]]  # table → rows [N, M of the table]


def wide_tables(
    impressions: Impressions, config: RankerConfig, seed: int
) -> Mapping[str, NDArray[np.float32]]:
    """All tables of `phoenix.wide.wide_table_shapes`, fitted to the wide action; none without."""
    shapes = wide_table_shapes(config)
    if not shapes:
        return {}
    at = config.action_names.index(config.wide_action)
    rows = impressions.take((impressions.weight > 0) & impressions.labels_known[:, at])
    labels = rows.labels[:, at]
    rng = np.random.default_rng([seed, 0x71DE])
    size = 1 + sum(count for count, _ in shapes.values())
    rate = float(labels.mean()) if len(labels) else 0.5
    machine = factorisation.fresh(rate, size, config.wide_width, SCALE, rng)
    if len(np.unique(labels)) == 2:
        features = _numbered(row_features(rows, config), shapes)
        sums = factorisation.no_steps(machine)
        for _ in range(EPOCHS):
            factorisation.learn(machine, sums, features, labels, LEARNING_RATE, PENALTY, rng)
    return _tables(machine, shapes)


def row_features(rows: Impressions, config: RankerConfig) -> _Features:
    """Each table's rows that a row reads."""
    surface = rows.product_surface.astype(np.int64)
    known = (surface >= 0) & (surface < config.num_surfaces)
    found = {
        "user": user_hashes(config, rows.viewer_ids)[:, :1],
        "post": post_hashes(config, rows.post_ids)[:, :1],
        "author": author_hashes(config, rows.author_ids)[:, :1],
        "surface": np.where(known, surface, 0)[:, None],
    }
    catalogue = rows.catalogue
    if config.tag_rows and catalogue is not None:
        tags = catalogue.tags_of(rows.post_ids)[:, : config.tags_max]
        found["tag"] = tag_hashes(config, tags)
    if config.durations and catalogue is not None:
        seconds = catalogue.duration_of(rows.post_ids)
        seconds = np.where(seconds > 0, seconds, np.float32(-1))
        found["duration"] = np.asarray(duration_bucket(jnp.asarray(seconds)))[:, None]
    return {name + WIDE: columns.astype(np.int64) for name, columns in found.items()}


def _numbered(features: _Features, shapes: Mapping[str, tuple[int, int]]) -> NDArray[np.int32]:
    """[N, M] of all tables together, from 1; 0 is padding, which surfaces do not have."""
    columns = []
    for name, start, _ in _places(shapes):
        if name in features:
            padding = (features[name] == 0) & (name != "surface" + WIDE)
            columns.append(np.where(padding, 0, features[name] + start))
    return np.concatenate(columns, axis=1).astype(np.int32)


def _tables(
    machine: factorisation.Machine, shapes: Mapping[str, tuple[int, int]]
) -> dict[str, NDArray[np.float32]]:
    joined = np.concatenate([machine.weights[:, None], machine.factors], axis=1)
    tables = {name: joined[start:stop].copy() for name, start, stop in _places(shapes)}
    for name, table in tables.items():
        if name == "surface" + WIDE:
            table[:, 0] += machine.bias[0]
        else:
            table[0] = 0.0
    return tables


def _places(shapes: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, int, int]]:
    """(Table, its first feature, the one behind its last)."""
    start = 1
    for name, (count, _) in shapes.items():
        yield name, start, start + count
        start += count

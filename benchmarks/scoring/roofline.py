"""What scoring costs at least: floating-point operations, and bytes that must be moved.

Glossary: C candidates, T context tokens, D width, H query and G key/value heads, K key size, W
feed-forward width, F candidate features, A actions. A multiplication with its addition counts two.
"""

from __future__ import annotations

from dataclasses import dataclass

from phoenix.config import RankerConfig
from phoenix.layers import ffn_width

BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class Work:
    """Of one call of the score program."""

    flops: int
    weights: int  # numbers of the layers' matrices, in the operands' type
    cached: int  # numbers of the context's keys and values, in the operands' type
    others_bytes: int  # rows of the tables, and the answers

    def bytes_of(self, dtype: str) -> int:
        """Each weight, key, value, row and answer once: activations may stay in the caches."""
        return (self.weights + self.cached) * BYTES[dtype] + self.others_bytes


def score_work(config: RankerConfig, candidates: int, seen: int | None = None) -> Work:
    """Matrix products alone: norms, softmax and features are time but no count.

    `seen` of the context's tokens are there (default: all); what the rest would take is no work.
    """
    c, tokens = config, 1 + config.history_length if seen is None else seen
    wide = ffn_width(c.width, c.widening)
    layer = c.width * (2 * c.heads + 2 * c.kv_heads) * c.key_size + 3 * c.width * wide
    attention = 2 * c.heads * c.key_size * (tokens + 1)
    past = c.num_actions + 2
    features = 2 * (c.num_hashes + 1) * c.embedding_width + c.profile_channels + past
    rows = 2 * c.num_hashes * c.embedding_width
    ends = features * c.width + (features + c.width) * (c.num_actions + 1)
    ends += rows * c.embedding_width + c.profile_channels * c.embedding_width
    ends += past * c.history_length
    return Work(
        flops=2 * candidates * (c.layers * (layer + attention) + ends),
        weights=c.layers * layer,
        cached=2 * c.layers * tokens * c.kv_heads * c.key_size,
        others_bytes=4 * candidates * (rows + c.num_actions + 1),
    )

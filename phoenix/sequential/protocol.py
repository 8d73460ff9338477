"""The two protocols: which interactions are trained on, and what is ranked for whom.

    leave-one-out   a user's last item is the test target, the one before validation's, the rest
                    is trained on; at test, histories include the validation item
    split           two files; of the training file, one item a user is set aside for validation
                    (the last one in time, or a random one where order carries nothing)

Users too short for their targets are trained on and not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from phoenix.sequential.interactions import Interactions, Sequences, SplitInteractions
from phoenix.sequential.ranking import Ranking, hit_metrics, set_metrics

LEAVE_ONE_OUT_MIN = 3  # interactions of a user that is measured
VALIDATION_MIN = 3  # training items of a user of whom one is set aside for validation
VALIDATION_SEED = 0x5E7  # which item that is does not depend on the training's seed
CUTS = {"leave-one-out": (10, 50, 200), "split": (20,)}


@dataclass(frozen=True, slots=True)
class Fold:
    """What is known of each user, and what is to be found."""

    histories: Sequences
    targets: Sequences  # none for a user who is not measured


@dataclass(frozen=True, slots=True)
class Protocol:
    """A data set ready to train on and to measure with."""

    name: Literal["leave-one-out", "split"]
    interactions: Interactions
    train: Sequences
    train_and_validation: Sequences
    validation: Fold
    test: Fold
    ordered: bool
    facts: dict[str, int]  # counts that the report states

    @property
    def primary(self) -> str:
        return f"NDCG@{CUTS[self.name][0]}"

    def metrics(self, ranking: Ranking) -> dict[str, float]:
        cuts = CUTS[self.name]
        if self.name == "split":
            return set_metrics(ranking, cuts)
        return hit_metrics(ranking.ranks, cuts)


def leave_one_out(interactions: Interactions) -> Protocol:
    """ValueError: no user has three interactions."""
    rows = list(interactions.sequences)
    measured = interactions.sequences.lengths >= LEAVE_ONE_OUT_MIN
    if not measured.any():
        raise ValueError(
            f"no user has {LEAVE_ONE_OUT_MIN} interactions; leave-one-out needs one to train on, "
            "one for validation and one for the test"
        )
    pairs = list(zip(rows, measured.tolist(), strict=True))
    train = Sequences.of([row[:-2] if keep else row for row, keep in pairs])
    to_test = Sequences.of([row[:-1] if keep else row for row, keep in pairs])
    validation = Fold(train, Sequences.of([row[-2:-1] if keep else row[:0] for row, keep in pairs]))
    test = Fold(to_test, Sequences.of([row[-1:] if keep else row[:0] for row, keep in pairs]))
    facts = {
        **_size_facts(interactions),
        "users_measured": int(measured.sum()),
        "users_too_short": int((~measured).sum()),
        "test_items_seen_before": _seen_before(test),
    }
    return Protocol("leave-one-out", interactions, train, to_test, validation, test, True, facts)


def split(data: SplitInteractions, ordered: bool) -> Protocol:
    """Users of the training file without a test item are trained on."""
    rows = list(data.train.sequences)
    rng = np.random.default_rng(VALIDATION_SEED)
    kept, found = [], []
    for row in rows:
        place = len(row) - 1 if ordered else int(rng.integers(0, max(len(row), 1)))
        enough = len(row) >= VALIDATION_MIN
        kept.append(np.delete(row, place) if enough else row)
        found.append(row[place : place + 1] if enough else row[:0])
    train = Sequences.of(kept)
    test = Fold(data.train.sequences, data.test)
    measured = int((data.test.lengths > 0).sum())
    facts = {
        **_size_facts(data.train),
        "test_interactions": len(data.test.items),
        "users_measured": measured,
        "users_without_test_items": len(rows) - measured,
        "test_users_without_training": data.users_without_training,
        "test_items_seen_before": _seen_before(test),
    }
    validation = Fold(train, Sequences.of(found))
    return Protocol(
        "split", data.train, train, data.train.sequences, validation, test, ordered, facts
    )


def _size_facts(interactions: Interactions) -> dict[str, int]:
    return {
        "users": len(interactions.sequences),
        "items": interactions.num_items,
        "interactions": len(interactions.sequences.items),
    }


def _seen_before(fold: Fold) -> int:
    """Targets that the user took before: they are misses."""
    pairs = zip(fold.histories, fold.targets, strict=True)
    return sum(int(np.isin(targets, history).sum()) for history, targets in pairs)

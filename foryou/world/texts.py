"""The world's words: topics with a small vocabulary each, and sentences made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# topic → things, places, doings. Words may occur once only: a muted word then means one topic.
TOPICS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "gardening",
        ("tomatoes", "roses", "compost", "seedlings", "orchids"),
        ("pruning", "repotting", "watering", "grafting"),
    ),
    (
        "chess",
        ("endgames", "gambits", "bishops", "openings", "blunders"),
        ("castling", "analysing", "sacrificing", "checkmating"),
    ),
    (
        "cycling",
        ("gravel", "derailleurs", "climbs", "tyres", "criteriums"),
        ("pedalling", "descending", "bikepacking", "sprinting"),
    ),
    (
        "baking",
        ("sourdough", "croissants", "rye", "meringue", "brioche"),
        ("kneading", "proofing", "glazing", "whisking"),
    ),
    (
        "astronomy",
        ("nebulae", "telescopes", "comets", "exoplanets", "eclipses"),
        ("stargazing", "collimating", "observing", "imaging"),
    ),
    (
        "jazz",
        ("saxophones", "ballads", "bebop", "standards", "trumpets"),
        ("improvising", "swinging", "comping", "transcribing"),
    ),
    (
        "databases",
        ("indexes", "joins", "transactions", "replicas", "migrations"),
        ("sharding", "vacuuming", "querying", "benchmarking"),
    ),
    (
        "football",
        ("midfielders", "penalties", "derbies", "corners", "goalkeepers"),
        ("dribbling", "pressing", "tackling", "volleying"),
    ),
)

_SENTENCES = (
    "Spent the morning {doing}, and the {thing} finally behave.",
    "Nobody told me that {doing} would change how I see {thing}.",
    "Three things about {thing} that I wish I had known before {doing}.",
    "Is it just me, or are {thing} better this year?",
    "A small note on {doing}: start with the {thing}.",
    "My favourite part of {topic} is {doing} with friends.",
    "Today in {topic}: {thing}, patience and a lot of {doing}.",
    "If you love {topic}, look closely at the {thing}.",
    "Unpopular opinion: {doing} matters more than {thing}.",
    "Ten years of {topic} and {thing} still surprise me.",
)
_REPLIES = (
    "Agreed, and {doing} helps with {thing} too.",
    "I would add {thing} to that list.",
    "Have you tried {doing} first?",
    "That is not how {thing} work for me.",
)
_QUOTES = (
    "Worth reading for anyone who is into {topic}.",
    "This, but with {thing}.",
    "Good point about {doing}; here is my view.",
)
SCREEN_NAME_WORDS = (
    "amber", "basil", "cedar", "delta", "ember", "fable", "grove", "hazel", "indigo", "juniper",
    "kestrel", "lumen", "maple", "noble", "opal", "pebble", "quartz", "river", "sable", "tundra",
    "umber", "velvet", "willow", "yarrow", "zephyr",
)  # fmt: skip
KINDS = {"original": _SENTENCES, "reply": _REPLIES, "quote": _QUOTES}


def topic_words(topic: int) -> tuple[str, ...]:
    """Every word that belongs to a topic's posts alone; what a viewer mutes."""
    name, things, doings = TOPICS[topic]
    return (name, *things, *doings)


def write_texts(
    topics: NDArray[np.int64], kinds: Sequence[str], rng: np.random.Generator
) -> list[str]:
    """One sentence for each post, from its topic [N] and its kind (a key of KINDS)."""
    picks = rng.integers(0, 1 << 30, (len(topics), 3)).tolist()
    return [
        _sentence(topic, KINDS[kind], pick)
        for topic, kind, pick in zip(topics.tolist(), kinds, picks, strict=True)
    ]


def _sentence(topic: int, templates: Sequence[str], pick: Sequence[int]) -> str:
    name, things, doings = TOPICS[topic]
    return templates[pick[0] % len(templates)].format(
        topic=name, thing=things[pick[1] % len(things)], doing=doings[pick[2] % len(doings)]
    )

"""Explained feeds as tables and as JSON rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from protos import home_mixer_pb2

TERMS_SHOWN = 3
COLUMNS_IN_FILES = 120  # where there is no terminal to ask


def console() -> Console:
    """Standard output, wide enough for a feed where it is a file or a pipe."""
    found = Console()
    return found if found.is_terminal else Console(width=max(found.width, COLUMNS_IN_FILES))


def served(answer: home_mixer_pb2.ExplainResponse) -> list[home_mixer_pb2.CandidateFate]:
    """The candidates of the feed, in its order."""
    fates = [candidate for candidate in answer.candidates if candidate.fate == "served"]
    return sorted(fates, key=lambda candidate: candidate.position)


def feed_table(answer: home_mixer_pb2.ExplainResponse, title: str) -> Table:
    """Rank, author, text, network, score and the terms that weigh most."""
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("author", no_wrap=True, max_width=20)
    table.add_column("text", ratio=3)
    table.add_column("network")
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("strongest terms", ratio=3)
    for rank, post in enumerate(served(answer), start=1):
        table.add_row(
            str(rank),
            Text(post.author_screen_name or str(post.author_id)),
            Text(post.text),
            "in" if post.in_network else "out",
            f"{post.score:.3f}",
            Text(strongest_terms(post)),
        )
    return table


def why_empty(answer: home_mixer_pb2.ExplainResponse) -> str:
    """One sentence for a feed without posts: nothing was found, or what removed it all."""
    if not answer.candidates:
        return "no source found a post for this viewer; old posts are not shown"
    causes = Counter(post.removed_by or post.fate for post in answer.candidates)
    listed = ", ".join(f"{cause} {count}" for cause, count in causes.most_common())
    return f"none of {len(answer.candidates)} candidates may be shown: {listed}"


def strongest_terms(post: home_mixer_pb2.CandidateFate) -> str:
    """The heads whose weight · value moves the score most, signed."""
    terms = sorted(post.terms, key=lambda term: -abs(term.contribution))[:TERMS_SHOWN]
    return ", ".join(f"{term.head} {term.contribution:+.3f}" for term in terms)


def post_rows(answer: home_mixer_pb2.ExplainResponse) -> list[dict[str, Any]]:
    """The feed for programs; `terms` maps every head to weight · value."""
    return [
        {
            "post_id": post.post_id,
            "author_id": post.author_id,
            "score": post.score,
            "in_network": post.in_network,
            "text": post.text,
            "terms": _terms(post),
        }
        for post in served(answer)
    ]


def _terms(post: home_mixer_pb2.CandidateFate) -> Mapping[str, float]:
    return {term.head: term.contribution for term in post.terms}

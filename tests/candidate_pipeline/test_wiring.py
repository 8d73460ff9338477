"""A pipeline whose parts do not fit must not start, and must say which parts and what to change."""

from typing import Any

import numpy as np
import pytest

from candidate_pipeline import (
    Column,
    FailurePolicy,
    MergingFilter,
    Schema,
    TopKSelector,
    WiringError,
)


def _hydrator(kit: Any, name: str, reads: set[str], writes: set[str], **more: Any) -> Any:
    answer = dict.fromkeys(writes)
    return kit.hydrator(name, reads=reads, writes=writes, hydrate=lambda *_: answer, **more)


def test_two_hydrators_that_write_one_column_are_both_named(kit: Any) -> None:
    parts = [_hydrator(kit, name, set(), {"fact"}) for name in ("First", "Second")]
    with pytest.raises(WiringError, match="First and Second both write 'fact'"):
        kit.pipeline(hydrators=parts)


def test_a_read_that_nothing_wrote_is_named_with_its_reader(kit: Any) -> None:
    lonely = kit.filter("Lonely", reads={"fact"}, keep=None)
    with pytest.raises(WiringError, match=r"Lonely.*reads 'fact', which nothing before it writes"):
        kit.pipeline(filters=[lonely])


def test_a_default_that_is_meant_can_be_preset(kit: Any) -> None:
    keeps_all = kit.filter(
        "Lonely", reads={"fact"}, keep=lambda query, table: np.isnan(table["fact"])
    )
    kit.pipeline(filters=[keeps_all], preset_columns={"fact"})
    with pytest.raises(WiringError, match="preset column 'facts'"):
        kit.pipeline(preset_columns={"facts"})


def test_a_column_written_only_later_is_not_there_yet(kit: Any) -> None:
    early = kit.filter("Early", reads={"verdict"}, keep=None)
    late = _hydrator(kit, "Late", set(), {"verdict"})
    with pytest.raises(WiringError, match=r"Early.*'verdict'"):
        kit.pipeline(filters=[early], late_hydrators=[late])


def test_unknown_columns_are_named_with_the_schema(kit: Any) -> None:
    with pytest.raises(WiringError, match=r"Typo.*writes 'fcat'.*fact"):
        kit.pipeline(hydrators=[_hydrator(kit, "Typo", set(), {"fcat"})])


def test_a_circle_of_hydrators_is_spelled_out(kit: Any) -> None:
    parts = [
        _hydrator(kit, "Chicken", {"deeper"}, {"fact"}),
        _hydrator(kit, "Egg", {"fact"}, {"deeper"}),
    ]
    with pytest.raises(WiringError, match="Chicken waits for Egg; Egg waits for Chicken"):
        kit.pipeline(hydrators=parts)


def test_a_hydrator_may_read_what_it_refines(kit: Any) -> None:
    source = kit.source("S", writes={"id", "fact"}, fetch=lambda query: {"id": [1], "fact": [1.0]})
    kit.pipeline(sources=[source], hydrators=[_hydrator(kit, "Refine", {"fact"}, {"fact"})])


def test_duplicate_names_across_stages(kit: Any) -> None:
    twin = kit.filter("Twin", keep=None)
    with pytest.raises(WiringError, match=r"two components are called 'Twin' \(in Filter and Late"):
        kit.pipeline(filters=[twin], late_filters=[twin])


def test_a_source_declares_the_id_column(kit: Any) -> None:
    anonymous = kit.source("Anonymous", writes={"author"}, fetch=None)
    with pytest.raises(WiringError, match="Anonymous does not declare 'id'"):
        kit.pipeline(sources=[anonymous])


def test_a_source_does_not_write_the_source_column(kit: Any) -> None:
    liar = kit.source("Liar", writes={"id", "sources"}, fetch=None)
    with pytest.raises(WiringError, match="Liar writes 'sources', which the pipeline fills"):
        kit.pipeline(sources=[liar])


def test_a_pipeline_without_sources(kit: Any) -> None:
    with pytest.raises(WiringError, match="at least one source"):
        kit.pipeline(sources=[])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id_column": "key"}, "id_column 'key' is not in the schema"),
        ({"id_column": "score"}, "id_column 'score' is float64; it wants an integer"),
        ({"source_column": "origin"}, "pass source_column=None"),
        ({"result_size": -1}, "result_size is -1"),
        ({"budget_ms": 0.0}, "budget_ms is 0.0"),
        ({"late_reserve_ms": 1e9}, "late_reserve_ms"),
        ({"side_effect_concurrency_max": 0}, "concurrency of at least 1"),
    ],
)
def test_bad_pipeline_arguments(kit: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(WiringError, match=message):
        kit.pipeline(**change)


def test_a_sixty_fifth_source_has_no_bit(kit: Any) -> None:
    schema = Schema([Column("id", np.int64, 0), Column("sources", np.int8, 0)])
    many = [kit.ids([i], name=f"S{i}") for i in range(8)]
    with pytest.raises(WiringError, match="8 sources, but 'sources' has 8 bits"):
        kit.pipeline(schema=schema, sources=many)


def test_a_scorer_that_overwrites_blindly_is_refused_and_one_that_refines_is_not(kit: Any) -> None:
    first = kit.scorer("First", writes={"score"}, score=None)
    blind = kit.scorer("Blind", writes={"score"}, score=None)
    with pytest.raises(WiringError, match=r"First and Blind both write 'score'.*reads of Blind"):
        kit.pipeline(scorers=[first, blind])
    kit.pipeline(scorers=[first, kit.scorer("Refines", reads={"score"}, writes={"score"})])


def test_only_a_merging_filter_may_write(kit: Any) -> None:
    with pytest.raises(WiringError, match="a filter only removes"):
        kit.pipeline(filters=[kit.filter("Writer", writes={"fact"}, keep=None)])
    kit.pipeline(filters=[kit.component(MergingFilter, "Merger", writes={"fact"}, merge=None)])


def test_a_selector_reads_what_was_written(kit: Any) -> None:
    with pytest.raises(WiringError, match=r"TopKSelector \(Selector\) reads 'score'"):
        kit.pipeline(selector=TopKSelector("score", "id"))


@pytest.mark.parametrize(
    ("kind", "policy", "method"),
    [
        ("hydrator", FailurePolicy.FALLBACK, "fallback"),
        ("hydrator", FailurePolicy.FAIL_CLOSED, "fail_closed"),
        ("scorer", FailurePolicy.FAIL_CLOSED, "fail_closed"),
        ("query_hydrator", FailurePolicy.FALLBACK, "fallback"),
        ("filter", FailurePolicy.FALLBACK, "fallback"),
    ],
)
def test_a_policy_without_its_answer(kit: Any, kind: str, policy: Any, method: str) -> None:
    part = getattr(kit, kind)("Unprepared", on_failure=policy)
    with pytest.raises(WiringError, match=rf"Unprepared.*{policy.name} but no method `{method}`"):
        kit.pipeline(**{f"{kind}s": [part]})


def test_a_side_effect_has_no_policy_but_skip(kit: Any) -> None:
    effect = kit.side_effect("Effect", on_failure=FailurePolicy.FAIL_REQUEST)
    with pytest.raises(WiringError, match=r"Effect.*only SKIP"):
        kit.pipeline(side_effects=[effect])


def test_budgets_are_positive_and_blocking_is_for_plain_functions(kit: Any) -> None:
    with pytest.raises(WiringError, match="budget_ms=0"):
        kit.pipeline(filters=[kit.filter("Rushed", keep=None, budget_ms=0)])
    with pytest.raises(WiringError, match=r"Both.*a thread runs a plain `def`"):
        kit.pipeline(hydrators=[kit.hydrator("Both", hydrate=kit.never, blocking=True)])


def test_query_hydrators_declare_fields_that_the_query_has(kit: Any) -> None:
    with pytest.raises(WiringError, match=r"Who.*'freinds'.*Ask does not have"):
        kit.pipeline(query_hydrators=[kit.query_hydrator("Who", writes={"freinds"})])
    pair = [kit.query_hydrator(name, writes={"taste"}) for name in ("One", "Two")]
    with pytest.raises(WiringError, match="One and Two both write 'taste'"):
        kit.pipeline(query_hydrators=pair)


def test_hydrators_run_in_waves_that_follow_from_reads_and_writes(kit: Any, run: Any) -> None:
    """Declared in the wrong order on purpose: the dependent one must still see the fact."""
    deeper = kit.hydrator(
        "Deeper",
        reads={"fact"},
        writes={"deeper"},
        hydrate=lambda query, table: {"deeper": table["fact"] * 10},
    )
    fact_as_float = kit.hydrator(
        "Fact",
        reads={"id"},
        writes={"fact"},
        hydrate=lambda query, table: {"fact": table["id"].astype(float)},
    )
    pipeline = kit.pipeline(hydrators=[deeper, fact_as_float])
    assert run(pipeline.execute(kit.Ask())).selected["deeper"].tolist() == [30.0, 20.0, 10.0]
    assert pipeline.component_names()["Hydrator"] == ("Fact", "Deeper")


def test_dependent_query_hydrators_see_the_fields_that_they_read(kit: Any, run: Any) -> None:
    friends = kit.query_hydrator(
        "Friends",
        reads={"taste"},
        writes={"friends"},
        hydrate=lambda query: {"friends": (int(query.taste),)},
    )
    taste = kit.query_hydrator("Taste", writes={"taste"}, hydrate=lambda query: {"taste": 4.0})
    result = run(kit.pipeline(query_hydrators=[friends, taste]).execute(kit.Ask()))
    assert result.query == kit.Ask(taste=4.0, friends=(4,))

"""A KuaiRand evaluation's result for a terminal."""

from __future__ import annotations

from typing import Any

from phoenix.evaluation.kuairand_report import NAMES, OURS, PRIMARY_LABELS

BASELINE_HEADER = (
    f"{'action':<15}{'model':<23}{'AUC':>16}{'GAUC':>16}{'log loss':>18}{'ECE':>8}{'chance':>8}"
    f"{'of equal mass':>16}{'chance':>8}"
)
ECE_NOTE = (
    "ECE: 15 bins of equal width (Guo et al. 2017), beside 15 of equal mass, which tell more of "
    "rare actions; chance: what perfect probabilities would show on these rows"
)


def format_table(result: dict[str, Any]) -> str:
    """Everything: the protocol, the primaries, our heads, and every model's measures by action."""
    lines = [_protocol(result["protocol"]), ""]
    lines += ["long_view primary = (GAUC + nDCG@5) / 2", *_primaries(result), ""]
    lines += _heads(result["actions"])
    if result.get("rows"):
        lines += ["", "Each action by each model, ± standard error over users", BASELINE_HEADER]
        lines += _models(result["rows"])
    return "\n".join(lines)


def _protocol(protocol: dict[str, Any]) -> str:
    grow = "histories grow with the test rows" if protocol["online"] else "no test row in histories"
    return (
        f"KuaiRand-Pure, tested on {protocol['test']}: {protocol['test_rows']:,} impressions of "
        f"{protocol['test_users']:,} users, trained on {protocol['training_rows']:,} and "
        f"{protocol['older_rows']:,} older ones, {protocol['steps']} steps in "
        f"{protocol['train_seconds']:.0f} s, {grow}"
    )


def _primaries(result: dict[str, Any]) -> list[str]:
    """Of every model; those of the suite with their errors and our distance."""
    lines, told = [], set()
    for row in result.get("rows", []):
        line = f"  {row['label']:<38}{_with_error(row['primary'], row.get('spread'))}"
        above = row.get("ours_above")
        if above:
            line += f"   ours is above by {_pair(above['value'], above['stderr'])}"
        lines.append(line)
        told.add(row["label"])
    lines += [
        f"  {label:<38}{_number(result[name])}"
        for name, label in PRIMARY_LABELS.items()
        if label not in told
    ]
    return lines


def _heads(actions: dict[str, Any]) -> list[str]:
    lines = [
        f"{'action':<14}{'AUC':>8}{'± s.e.':>9}{'u×i AUC':>9}{'GAUC':>9}{'± s.e.':>9}"
        f"{'u×i GAUC':>10}{'log loss':>10}{'ECE':>8}{'chance':>8}{'of equal mass':>16}"
        f"{'chance':>8}{'positives':>11}"
    ]
    for name, row in actions.items():
        lines.append(
            f"{name:<14}{_number(row['auc']):>8}{_number(row['auc_stderr']):>9}"
            f"{_number(row['user_item_auc']):>9}{_number(row['gauc']):>9}"
            f"{_number(row['gauc_stderr']):>9}{_number(row.get('user_item_gauc')):>10}"
            f"{_number(row['log_loss'], 5):>10}"
            f"{_number(row.get('ece_equal_width')):>8}"
            f"{_number(row.get('ece_equal_width_by_chance')):>8}"
            f"{_pair(row.get('ece'), row.get('ece_stderr')):>16}"
            f"{_number(row.get('ece_by_chance')):>8}{row['positives']:>11,}"
        )
    return [*lines, ECE_NOTE]


def _models(rows: list[dict[str, Any]]) -> list[str]:
    """By action, then by model: a model that wins a line stands in it like the others."""
    names = rows[0]["actions"] if rows and rows[0]["name"] == OURS else {}
    lines = []
    for action in names:
        for row in rows:
            found = row["actions"].get(action)
            if found is None:
                lines.append(f"{action:<15}{NAMES[row['name']]:<23}{'cannot tell':>16}")
                continue
            lines.append(
                f"{action:<15}{NAMES[row['name']]:<23}"
                f"{_pair(found['auc'], found['auc_stderr']):>16}"
                f"{_pair(found['gauc'], found['gauc_stderr']):>16}"
                f"{_pair(found.get('log_loss'), found.get('log_loss_stderr'), 5):>18}"
                f"{_number(found.get('ece_equal_width')):>8}"
                f"{_number(found.get('ece_equal_width_by_chance')):>8}"
                f"{_pair(found.get('ece'), found.get('ece_stderr')):>16}"
                f"{_number(found.get('ece_by_chance')):>8}"
            )
    return lines


def _with_error(value: float | None, spread: dict[str, float | None] | None) -> str:
    return _pair(value, (spread or {}).get("primary"))


def _pair(value: float | None, stderr: float | None, digits: int = 4) -> str:
    if value is None:
        return "–"
    return _number(value, digits) + ("" if stderr is None else f" ±{stderr:.{digits}f}")


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"

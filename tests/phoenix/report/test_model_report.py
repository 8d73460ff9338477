"""The page is what a stranger sees first of a model: whole, honest, safe, the same every time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foryou.cli import run
from phoenix.data.impressions import Impressions
from phoenix.evaluation.kept import Evaluated
from phoenix.report.ablations import read_ablations
from phoenix.report.comparison import comparisons
from phoenix.report.facts import read_facts
from phoenix.report.files import ReportError
from phoenix.report.html import page
from phoenix.report.judged import Judged, read_judged
from phoenix.report.own_log import judge
from phoenix.report.ranked import read_result
from phoenix.report.report import model_report
from phoenix.report.wording import moment

Keep = Callable[..., Path]
NOW_MS = 1_795_000_000_000
SECTIONS = ("quality", "reliability", "scores", "slices", "learning", "ablations", "model")
VOID = {"meta", "br", "link"}


class Document(HTMLParser):
    """Checks nesting; collects ids, sections, pictures and where links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sections: list[str] = []
        self.labels: list[str] = []
        self.figures = self.tables = 0
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.figures += tag == "figure"
        self.tables += tag == "table"
        self.links += [
            str(values[name]) for name in ("href", "src", "xlink:href") if name in values
        ]
        if "id" in values:
            self.ids.append(str(values["id"]))
        if tag == "section":
            self.sections.append(str(values["id"]))
        if tag == "svg":
            self.labels.append(values.get("aria-label") or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def write(
    directory: Path, ablations: list[Path] | None = None, judged: Judged | None = None
) -> str:
    facts = read_facts(directory)
    rows = judged or read_judged(facts, None)
    files = [read_ablations(path) for path in ablations or []]
    return page(model_report(facts, rows, files, NOW_MS))


@pytest.fixture
def ablations(tmp_path: Path) -> Path:
    path = tmp_path / "ablations.json"
    rows = [
        {"name": "base", "primary": 0.6, "difference": 0.0},
        {"name": "no-history", "what": "no history", "primary": 0.5, "difference": -0.1},
        {"name": "<b>causal</b>", "what": "both", "primary": 0.61, "difference": 0.01},
    ]
    path.write_text(json.dumps({"day": "validation", "rows": rows}))
    return path


def test_a_whole_report_has_every_section_and_nothing_missing(keep: Keep, ablations: Path) -> None:
    """Each picture has words and a table for those who cannot see it."""
    text = write(keep(), [ablations])
    document = Document(text)
    assert tuple(document.sections) == SECTIONS
    assert document.figures == len(document.labels) >= 12
    assert all(len(label) > 20 for label in document.labels)
    assert document.tables >= document.figures
    assert "No reliability" not in text
    assert "factor" not in "".join(re.findall(r'class="missing">([^<]*)', text))


def test_the_page_needs_nothing_from_outside(keep: Keep, ablations: Path) -> None:
    """It is read inside mails, in clusters and in ten years."""
    text = write(keep(), [ablations])
    document = Document(text)
    assert all(link.startswith("#") for link in document.links)
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<script" not in text
    assert "@import" not in text
    targets = {link[1:] for link in document.links}
    targets |= set(re.findall(r"url\(#([^)]*)\)", text))
    assert targets <= set(document.ids)


def test_ids_are_unique_across_pictures(keep: Keep, ablations: Path) -> None:
    """Two pictures with one clip path would cut each other."""
    ids = Document(write(keep(), [ablations])).ids
    assert len(ids) == len(set(ids))


def test_the_same_input_gives_the_same_bytes(keep: Keep, ablations: Path) -> None:
    """A report can be compared with an earlier one by its digest."""
    directory = keep()
    assert write(directory, [ablations]) == write(directory, [ablations])


def test_names_from_files_are_escaped(keep: Keep, ablations: Path, evaluated: Evaluated) -> None:
    """An action or a file may be called anything; it must not become part of the page."""
    names = ("<i>favorite</i>", "click", "report")
    labels = dict(zip(names, evaluated.labels.values(), strict=True))
    text = write(keep(action_names=names, labels=labels), [ablations])
    Document(text)
    assert "<i>favorite" not in text
    assert "&lt;i&gt;favorite" in text
    assert "<b>causal" not in text


def test_a_bare_checkpoint_names_what_is_missing_and_how_to_make_it(checkpoint: Path) -> None:
    """A chapter that is silently left out looks like a model without problems."""
    facts = read_facts(checkpoint)
    content = model_report(facts, None, [], NOW_MS)
    assert tuple(Document(page(content)).sections) == SECTIONS
    missing = " ".join(content.missing)
    for what in ("quality", "reliability", "histograms", "activity", "ablations"):
        assert what in missing
    assert "foryou eval kuairand" in missing
    assert "--data-dir" in missing


def test_curves_and_hashes_are_those_of_the_checkpoint(checkpoint: Path) -> None:
    """The hash is how two reports are told to be of the same data and configuration."""
    facts = read_facts(checkpoint)
    text = page(model_report(facts, None, [], NOW_MS))
    assert facts.config_sha256 in text
    assert str(facts.meta["data_sha256"]) in text
    assert [point["step"] for point in facts.curve] == [10, 20]
    assert "Loss by step" in text
    assert sum(facts.parameters.values()) == sum(
        array.size for array in np.load(facts.path / "params.npz").values()
    )


def test_a_checkpoint_says_when_and_with_what_it_was_made(checkpoint: Path) -> None:
    """Two trainings of one configuration differ where a package did."""
    facts = read_facts(checkpoint)
    text = page(model_report(facts, None, [], NOW_MS))
    for what in (str(facts.meta["packages"]["jax"]), moment(facts.meta["written_at_ms"])):
        assert what in text


def test_a_model_without_probabilities_has_its_own_tables(checkpoint: Path) -> None:
    """A recommender of items orders them; where popularity wins, the page shows that, too."""
    (path,) = checkpoint.glob("*/config.json")
    config = json.loads(path.read_text())
    config["config"]["model"] = "SequentialConfig"
    path.write_text(json.dumps(config))
    result = {
        "version": path.parent.name,
        "rows": [
            {"name": "popularity", "NDCG@10": 0.2, "spread": {}},
            {"name": "model", "NDCG@10": 0.1, "spread": {"NDCG@10": 0.01}},
        ],
        "trainings": [{"fit": {"curve": [{"epoch": 1, "step": 9, "loss": 2.0, "NDCG@10": 0.1}]}}],
    }
    (checkpoint / "evaluation.json").write_text(json.dumps(result))
    (checkpoint / "curves.json").unlink()
    facts = read_facts(checkpoint)
    content = model_report(facts, None, [], NOW_MS, read_result(facts, None))
    text = page(content)
    assert Document(text).sections == ["quality", "learning", "ablations", "model"]
    assert "highest: popularity" in text
    assert "0.1000 ± 0.0100" in text
    assert "validation NDCG@10" in text

    (checkpoint / "evaluation.json").write_text(json.dumps({**result, "version": "000009-1"}))
    with pytest.raises(ReportError, match="measured version 000009-1"):
        read_result(facts, None)


def test_every_baseline_stands_beside_ours_also_where_it_wins() -> None:
    """A table that leaves out what beats the model is an advertisement."""
    measures = {"auc": 0.7, "auc_stderr": 0.01, "gauc": 0.6, "ece": 0.002}
    rows = [
        {"name": "model", "label": "ours", "primary": 0.5, "spread": {"primary": 0.01}},
        {"name": "lightgbm", "label": "LightGBM", "primary": 0.6, "seconds": 9.0},
    ]
    result = {
        "rows": [{**row, "actions": {"click": measures}} for row in rows],
        "actions": {"click": {"positives": 9}},
    }
    primary, auc, gauc = comparisons(result)
    assert primary.values == {"ours": 0.5, "LightGBM": 0.6}
    assert (primary.own, primary.errors) == ("ours", {"ours": 0.01})
    assert (auc.title, gauc.title) == ("AUC of click", "GAUC of click")
    assert auc.errors == {"ours": 0.01, "LightGBM": 0.01}
    assert comparisons({"primary": 0.5}) == []


def test_the_curve_of_another_training_is_not_shown(checkpoint: Path) -> None:
    """Training afresh into a directory overwrites the curve of the version before."""
    points = [{"step": 20, "loss": 99.0}]
    (checkpoint / "curves.json").write_text(json.dumps(points))
    facts = read_facts(checkpoint)
    assert facts.curve == []
    assert "another" in facts.curve_problem or "later training" in facts.curve_problem


def test_calibration_is_shown_before_and_after(keep: Keep, evaluated: Evaluated) -> None:
    """The raw predictions are twice too high; the page must show both."""
    text = write(keep())
    assert "before calibration" in text
    without = write(keep(raw=evaluated.probabilities))
    assert "has no calibration" in without


def test_posts_without_an_age_are_a_part_of_their_own(keep: Keep, evaluated: Evaluated) -> None:
    """They would otherwise count as the newest, or vanish."""
    assert ">unknown<" in write(keep())
    nobody = np.full(len(evaluated.time_ms), np.nan)
    assert "no row&#x27;s post has a known age" in write(keep(post_age_seconds=nobody))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("evaluation.parquet", b"PAR1 no parquet", "cannot be read"),
        ("evaluation.json", b"{", "cannot be read"),
        (
            "evaluation.json",
            b'{"protocol": {"model_version": "other-1"}}',
            "measured model other-1",
        ),
        ("curves.json", b"[1, 2]", "list of objects with a step"),
        ("curves.json", b"nonsense", "is not JSON"),
        ("*/meta.json", b"[]", "must hold a JSON object"),
        ("*/meta.json", b"{}", "has no 'step'"),
        ("*/config.json", b"{}", "names no model"),
        ("*/params.npz", b"cut", "is damaged"),
    ],
)
def test_a_broken_file_is_named(keep: Keep, file: str, content: bytes, message: str) -> None:
    """Better no report than one that leaves out what it could not read."""
    directory = keep()
    (path,) = directory.glob(file)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        write(directory)


def test_probabilities_out_of_range_are_refused(keep: Keep, evaluated: Evaluated) -> None:
    """Log-odds in the place of probabilities would make a fine-looking, false page."""
    with pytest.raises(ReportError, match="probabilities from 0 to 1"):
        write(keep(probabilities=evaluated.probabilities * 10))


def test_gains_are_differences_to_the_base_in_every_form(ablations: Path, tmp_path: Path) -> None:
    """The ranker's and the recommender's files differ; a reader must not have to know."""
    ranker = read_ablations(ablations)
    assert ranker.rows[0].gains["primary"] == pytest.approx(-0.1)
    assert [row.name for row in ranker.rows] == ["no-history", "<b>causal</b>"]
    nested = [
        {"name": "base", "metrics": {"HR@10": 0.3, "NDCG@10": 0.2}, "gain": 0.0},
        {"name": "ema", "metrics": {"HR@10": 0.4, "NDCG@10": 0.1}, "gain": -0.1},
    ]
    path = tmp_path / "sequential.json"
    path.write_text(json.dumps(nested))
    (row,) = read_ablations(path).rows
    assert row.gains == pytest.approx({"HR@10": 0.1, "NDCG@10": -0.1})
    path.write_text(json.dumps([{"name": "ema", "gain": -0.1}]))
    assert read_ablations(path).measures == ("gain",)


@pytest.mark.parametrize("content", ["[]", '{"rows": [{"x": 1}]}', '{"a": 1}', '[{"name": "a"}]'])
def test_a_file_without_ablations_is_refused(tmp_path: Path, content: str) -> None:
    """An empty chapter would look as though nothing mattered."""
    path = tmp_path / "ablations.json"
    path.write_text(content)
    with pytest.raises(ReportError, match=r"ablations|gain"):
        read_ablations(path)


def test_a_log_is_judged_and_seen_rows_are_said_to_be_seen(
    checkpoint: Path, impressions: Impressions
) -> None:
    """Figures on the training rows flatter; the page says so, and so it does of unseen ones."""
    facts = read_facts(checkpoint)
    judged = judge(facts, impressions, rows_max=50)
    assert 0 < len(judged) <= 50
    assert "trained on these very rows" in judged.origin
    assert np.isfinite(judged.rows.post_age_seconds).all()
    assert "trained on these very rows" in write(checkpoint, judged=judged)

    later = impressions.take(impressions.impressed_at_ms > impressions.impressed_at_ms.min())
    start = int(np.quantile(impressions.impressed_at_ms, 0.9))
    assert "has seen none of them" in judge(facts, later, start, before=impressions).origin
    assert "is not known" in judge(facts, later, start).origin
    with pytest.raises(ReportError, match="no impression"):
        judge(facts, impressions, 2 * NOW_MS)


def test_the_command_writes_the_page_and_says_what_it_lacks(
    keep: Keep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs read the object, people the sentences."""
    out = tmp_path / "pages" / "report.html"
    assert run(["report", str(keep()), "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["report"] == str(out)
    assert any("ablations" in sentence for sentence in printed["missing"])
    Document(out.read_text())


def test_the_command_measures_impressions_of_a_file(
    checkpoint: Path, impressions: Impressions, tmp_path: Path
) -> None:
    """Operators have logs and no KuaiRand."""
    parquet, out = tmp_path / "impressions.parquet", tmp_path / "report.html"
    pq.write_table(pa.table({"x": [1]}), parquet)
    command = ["report", str(checkpoint), "--out", str(out), "--parquet", str(parquet)]
    assert run(command) == 1
    impressions.write_parquet(parquet)
    assert run(command) == 0
    assert "AUC of favorite" in out.read_text()


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        (["--data-dir", "a", "--parquet", "b"], 2),
        (["--from-ms", "1"], 2),
        (["--out", "."], 2),
        (["--ablations", "absent.json"], 1),
        (["--evaluation", "absent"], 1),
    ],
)
def test_wrong_calls_end_in_one_line(
    checkpoint: Path, extra: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback tells an operator nothing."""
    assert run(["report", str(checkpoint), *extra]) == code
    assert capsys.readouterr().err.count("\n") == 1

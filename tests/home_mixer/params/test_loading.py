"""A user's own table: only what differs, and a clear error for everything else."""

import json

import pytest

from home_mixer.params import load_params


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_toml_file_needs_to_hold_only_what_differs(tmp_path):
    path = write(
        tmp_path / "mine.toml",
        'base = "x-2026-08"\n[weights]\nreply = 7\n[parameters]\ntop_k = 80\n',
    )
    params = load_params(path)
    assert (params.name, params.weights["reply"], params.top_k) == ("mine", 7.0, 80)
    assert params.weights["not_interested"] == -43.2


def test_a_json_file_says_the_same_as_a_toml_file(tmp_path):
    content = {"name": "own", "weights": {"reply": 7}, "parameters": {"top_k": 80}}
    from_json = load_params(write(tmp_path / "a.json", json.dumps(content)))
    from_toml = load_params(
        write(tmp_path / "a.toml", "[weights]\nreply = 7\n[parameters]\ntop_k = 80\n")
    )
    assert from_json.params_hash == from_toml.params_hash
    assert from_json.name == "own"


def test_overrides_win_over_the_file(tmp_path):
    path = write(tmp_path / "a.json", '{"weights": {"reply": 7}}')
    params = load_params(path, {"weights.reply": 8, "result_size": 5})
    assert (params.weights["reply"], params.result_size) == (8.0, 5)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "is not a table of ranking parameters: Expecting"),
        ("a.toml", "= 3", "is not a table of ranking parameters: Invalid"),
        ("a.json", "[]", "holds list; a table with"),
        ("a.json", '{"weight": {}}', "unknown key 'weight'; the keys are name, synced"),
        ("a.json", '{"weights": [1]}', r"weights is \[1\]; a table of name = number is expected"),
        ("a.json", '{"weights": {"like": 1}}', "a.json: weights names the unknown head 'like'"),
        ("a.json", '{"parameters": {"oon": 1}}', "a.json: unknown parameter 'oon'"),
        (
            "a.json",
            '{"base": "x-2020"}',
            "no table of ranking weights named 'x-2020'; there are x-",
        ),
        ("a.yaml", "", "is neither a table of parameters"),
        ("a.json", " " * (1 << 20) + "{}", "is larger than 1048576 bytes"),
    ],
)
def test_a_bad_file_is_refused_with_what_to_mend(name, text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_params(write(tmp_path / name, text))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.toml cannot be read: No such file"):
        load_params(tmp_path / "gone.toml")


def test_an_unknown_name_lists_the_tables():
    with pytest.raises(ValueError, match=r"'x-2027' is neither .* \(x-2026-08, x-2026-10\)"):
        load_params("x-2027")

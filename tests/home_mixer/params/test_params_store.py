"""An operator edits the table while the service runs."""

import os

import pytest

from home_mixer.params import ParamsStore


@pytest.fixture
def edit(tmp_path):
    """Writes the file with a modification time of its own, so that no test waits for a clock."""
    path = tmp_path / "own.json"
    clock = iter(range(1_000_000_000, 2_000_000_000, 1_000_000))

    def write(text):
        path.write_text(text, encoding="utf-8")
        at = next(clock)
        os.utime(path, ns=(at, at))
        return path

    return write


def test_an_edited_file_is_in_force_after_the_reload(edit):
    store = ParamsStore(edit('{"parameters": {"top_k": 60}}'))
    before = store.current
    assert not store.reload_if_changed()
    edit('{"parameters": {"top_k": 61}}')
    assert store.reload_if_changed()
    assert (before.top_k, store.current.top_k, store.reloads) == (60, 61, 1)


def test_a_broken_edit_leaves_the_old_table_and_says_why(edit):
    store = ParamsStore(edit('{"parameters": {"top_k": 60}}'))
    edit('{"parameters": {"top_k": "many"}}')
    assert not store.reload_if_changed()
    assert store.current.top_k == 60
    assert store.failed_reloads == 1
    assert "top_k is 'many'" in (store.error or "")
    edit('{"parameters": {"top_k": 62}}')
    assert store.reload_if_changed()
    assert (store.current.top_k, store.error) == (62, None)


def test_a_deleted_file_leaves_the_old_table(edit):
    path = edit('{"parameters": {"top_k": 60}}')
    store = ParamsStore(path)
    path.unlink()
    assert not store.reload_if_changed()
    assert store.current.top_k == 60
    assert "cannot be read" in (store.error or "")


def test_the_same_values_again_are_no_change(edit):
    store = ParamsStore(edit('{"parameters": {"top_k": 60}}'), {"result_size": 9})
    edit('{"parameters": {"top_k":   60}}')
    assert not store.reload_if_changed()
    assert (store.current.result_size, store.reloads) == (9, 1)


def test_a_service_does_not_start_with_a_bad_table(edit):
    with pytest.raises(ValueError, match="unknown head"):
        ParamsStore(edit('{"weights": {"like": 1}}'))


def test_a_named_table_never_changes():
    store = ParamsStore("x-2026-08")
    assert not store.reload_if_changed()
    assert store.current.name == "x-2026-08"

"""Where the data of a run lies, here and on the machine it comes from."""

import os

import pytest

from gentool.data.places import root_here


@pytest.mark.parametrize("root", ["there", "~/there", None, "", "gone", "~nobody/there"])
@pytest.mark.parametrize("given", ["given", None])
def test_the_roots_of_a_run_on_this_machine(root, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GENTOOL_DATA", raising=False)
    if given:
        monkeypatch.setenv("GENTOOL_DATA", given)
    (tmp_path / "there").mkdir()
    assert root_here(root) == (root if root in ("there", "~/there") else given)


def test_a_folder_one_may_not_look_into_is_none(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setenv("GENTOOL_DATA", "given")
    monkeypatch.setattr(os, "stat", refuse)
    assert root_here("elsewhere/data") == "given"

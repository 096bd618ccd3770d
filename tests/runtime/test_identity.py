"""Names and paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.runtime.identity import InvalidName, check_name, check_path, is_below, join, leaf, parent

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,20}", fullmatch=True)


@given(st.lists(NAMES, min_size=1, max_size=6), NAMES)
def test_a_path_is_cut_where_it_was_joined(names: list[str], name: str) -> None:
    path = "/".join(names)
    child = join(path, name)

    assert check_path(child) == child
    assert (parent(child), leaf(child)) == (path, name)
    assert is_below(child, path)
    assert is_below(path, path)
    assert not is_below(path, child)
    assert not is_below(f"{path}x", path), "a path is below another at a slash, not in the middle of a name"


@pytest.mark.parametrize("wrong", ["", "a/b", " a", "a\n", ".a", None, 5])
def test_a_name_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidName):
        check_name(wrong)  # type: ignore[arg-type]

"""One process for each control socket and each store."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from holdfast.actors.app.claims import AlreadyClaimed, NotClaimable, claim


def test_what_is_claimed_is_refused_to_others_with_the_holders_number(tmp_path: Path) -> None:
    # The lock belongs to the open file: a second claim of this process is as good as another process's.
    with claim(tmp_path / "a.db", instead="take another"):
        with (
            pytest.raises(AlreadyClaimed, match=f"in use by process {os.getpid()}: .*take another"),
            claim(tmp_path / "a.db", instead="take another"),
        ):
            pass

        with claim(tmp_path / "b.db", instead="take another"):
            pass


def test_a_claim_ends_with_its_body_and_a_file_left_behind_claims_nothing(tmp_path: Path) -> None:
    with claim(tmp_path / "a.db", instead=""):
        pass
    assert (tmp_path / "a.db.lock").exists()

    with claim(tmp_path / "a.db", instead=""):
        pass


def test_a_claim_makes_a_folder_and_a_file_for_the_owner_alone(tmp_path: Path) -> None:
    with claim(tmp_path / "folder" / "a.db", instead=""):
        modes = [stat.S_IMODE((tmp_path / "folder" / name).stat().st_mode) for name in (".", "a.db.lock")]

    assert modes == [0o700, 0o600]


def test_a_place_that_cannot_be_written_to_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(NotClaimable, match=r"cannot write to .*file.* \(Not a directory\).*take another"),
        claim(tmp_path / "file" / "folder" / "a.db", instead="take another"),
    ):
        pass


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.db.lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(NotClaimable), claim(tmp_path / "a.db", instead=""):
        pass
    assert not (tmp_path / "elsewhere").exists()

"""The script that ships with the demo has every fault that it must show."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from holdfast.actors.app.demo.script import InvalidScript, load_script

SUBSYSTEMS = {"config", "logger", "auth", "delivery", "socket", "reconnect", "avatar"}

ROW = '[[fault]]\nname = "a"\nkind = "{kind}"\n'
NUMBERS = ("burst_seconds", "lead_seconds", "latency", "recover_within", "limit")
HEAD = "messages = 10\n" + "".join(f"{name} = 1.0\n" for name in NUMBERS)


def test_it_kills_resets_half_opens_expires_crashes_each_subsystem_and_spends_a_budget() -> None:
    script = load_script()
    kinds = Counter(fault.kind for fault in script.fault)
    crashed = {fault.path.rpartition("/")[2] for fault in script.fault if fault.kind.startswith("crash")}

    assert script.messages == 2000
    assert script.limit <= 60.0
    assert crashed == SUBSYSTEMS
    assert all(kinds[kind] == 1 for kind in ("kill_hub", "reset", "half_open", "refuse_refresh"))
    assert script.fault[-1].kind == "spend_budget"
    assert script.full_restarts == 1


def test_the_shares_of_the_faults_are_all_messages_and_nearly_equal() -> None:
    shares = load_script().shares

    assert sum(shares) == 2000
    assert max(shares) - min(shares) <= 1


def test_every_fault_strikes_within_its_own_messages() -> None:
    script = load_script()

    assert all(script.lead_seconds + 4 * script.latency < script.burst_of(fault) for fault in script.fault)


def test_the_refused_refresh_may_be_repeated_only_when_the_token_has_expired() -> None:
    """A refresh comes due in the last 20 to 10 % of the token's life, or it would merely be late."""
    script = load_script()
    (fault,) = [fault for fault in script.fault if fault.kind == "refuse_refresh"]
    lifetime = script.hub["token_lifetime"]

    assert isinstance(lifetime, float)
    assert fault.retry_after > 0.2 * lifetime


@pytest.mark.parametrize(
    "text,words",
    [
        (HEAD + "[hub]\n" + ROW.format(kind="dance"), "a kind is one of kill_hub, .*got 'dance'"),
        (HEAD + "fault = []\n[hub]\n", "wanted 1 fault or more"),
        (HEAD + "surprise = 1\n[hub]\n" + ROW.format(kind="reset"), "surprise"),
    ],
    ids=["an unknown kind", "no faults", "an unknown key"],
)
def test_a_bad_script_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.toml").write_text(text)

    with pytest.raises(InvalidScript, match=words):
        load_script(tmp_path / "s.toml")

"""The scan for secrets finds each of the three kinds that it looks for, and nothing where nothing is."""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec
import pytest

from holdfast.actors.app.demo.secrets import find_secrets, refresh_token_hashes, session_keys
from holdfast.actors.hub.grants import GrantStore
from holdfast.actors.logger.messages import Level
from holdfast.actors.logger.settings import LoggerSettings
from holdfast.actors.logger.sinks import Log
from holdfast.runtime import Secret, SystemWallClock

CANARY = "canary-5f1d3a7e9c"


def _logged(folder: Path, *, redacted: bool) -> Path:
    """Write the canary to a log: through the logger, or as a program without redaction would."""
    folder.mkdir()
    path = folder / "client.jsonl"
    record = {"api_key": CANARY, "note": f"Authorization: Bearer {CANARY}"}
    if not redacted:
        path.write_bytes(
            msgspec.json.encode({"level": "INFO", "message": "signed in", "data": record}) + b"\n"
        )
        return path
    log = Log(LoggerSettings(level=Level.DEBUG, file=path, stderr=False), wall_clock=SystemWallClock())
    log.front.info("signed in", {**record, "token": Secret(CANARY)})
    assert log.close()
    return path


def test_the_canary_is_found_with_redaction_off_and_not_with_it_on(tmp_path: Path) -> None:
    assert find_secrets([_logged(tmp_path / "plain", redacted=False)], [CANARY]) == ["client.jsonl:1"]
    assert find_secrets([_logged(tmp_path / "masked", redacted=True)], [CANARY]) == []


@pytest.mark.parametrize(
    "line",
    [
        "new token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
        "avatar session." + "0a" * 16 + "." + "1b" * 16,
        "dialling ws://127.0.0.1:1/v1/lite/x?key=" + "2c" * 16,
    ],
    ids=["a signed token", "an avatar's token", "the key in an address"],
)
def test_a_credential_that_nobody_named_is_found_by_its_shape(tmp_path: Path, line: str) -> None:
    log = tmp_path / "hub.log"
    log.write_text(f"all is well\n{line}\n")

    assert find_secrets([log], []) == ["hub.log:2"]


def test_a_refresh_token_is_found_by_the_hash_that_the_hub_keeps(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "hub.db"))
    numbers = iter(range(100))
    grants = GrantStore(connection, lambda size: bytes([next(numbers)]) * size, keep=10)
    token = grants.issue("client", Secret("an-api-key"), wall_now=0.0, lifetime=60.0)
    connection.close()
    hashes = refresh_token_hashes(tmp_path / "hub.db")
    log = tmp_path / "client.jsonl"
    log.write_text(f'{{"note":"{token.reveal()}"}}\n{{"note":"{"x" * 43}"}}\n')

    assert len(hashes) == 1
    assert find_secrets([log], [], hashes=hashes) == ["client.jsonl:1"]


def test_the_sessions_key_is_read_from_the_clients_store(tmp_path: Path) -> None:
    assert session_keys(tmp_path / "client.db") == []

    connection = apsw.Connection(str(tmp_path / "client.db"))
    connection.execute("create table session (one integer, key text)")
    connection.execute("insert into session values (1, 'the-key')")
    connection.close()

    assert session_keys(tmp_path / "client.db") == ["the-key"]

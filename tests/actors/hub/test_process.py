"""A hub as a process of its own, over real sockets: kill -9, orderly ends, bad settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx2
import pytest
import trio
import trio_websocket
from tests.actors.hub.conftest import ADMIN_KEY, API_KEY, Client, Json

from holdfast.actors.hub.store import SessionStore
from holdfast.runtime import Seams
from holdfast.runtime.daemon import ExitStatus

ENVIRONMENT = {**os.environ, "HOLDFAST_HUB_API_KEYS": API_KEY, "HOLDFAST_HUB_ADMIN_KEY": ADMIN_KEY}


@contextmanager
def hub_process(*arguments: str) -> Generator[tuple[subprocess.Popen[str], Json]]:
    """Run a hub; the second value is the line with its addresses."""
    command = [sys.executable, "-m", "holdfast.actors.hub", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            assert process.stdout is not None
            ready: Json = json.loads(process.stdout.readline())
            yield process, ready
        finally:
            process.kill()


async def sign_in(addresses: Json) -> str:
    async with httpx2.AsyncClient() as http:
        answer = await http.post(
            addresses["token_url"],
            json={"grant_type": "client_credentials", "client_id": "tester"},
            headers={"Authorization": f"Bearer {API_KEY}"},
        )
    token: str = answer.json()["access_token"]
    return token


@asynccontextmanager
async def connection(addresses: Json, token: str) -> AsyncGenerator[Client]:
    async with trio_websocket.open_websocket_url(
        addresses["realtime_url"],
        subprotocols=["rt.v1.json"],
        extra_headers=[(b"Authorization", f"Bearer {token}".encode())],
        message_queue_size=1_000,
        disconnect_timeout=2,
    ) as socket:
        try:
            yield Client(socket, socket._stream)
        finally:
            # The library leaves the socket open when the other side was first to go.
            await trio.aclose_forcefully(socket._stream)


def resume_of(welcome: Json, **cursors: int) -> Json:
    return {**{key: welcome[key] for key in ("session", "key", "epoch")}, "recv_seq": 0, **cursors}


def test_a_hub_killed_with_kill_9_comes_back_with_its_sessions_and_accepts_its_tokens(tmp_path: Path) -> None:
    store = tmp_path / "hub.db"

    async def before(addresses: Json) -> tuple[str, Json, int]:
        token = await sign_in(addresses)
        async with connection(addresses, token) as client:
            welcome = await client.connect()
            for n in range(1, 51):
                await client.send(type="msg.echo", seq=n, id=f"m-{n}", payload={"n": n})
            frame = await client.receive_until("msg.event")
            os.kill(addresses["pid"], signal.SIGKILL)
            return token, welcome, frame["ack"]

    async def after(addresses: Json, token: str, welcome: Json, promised: int) -> None:
        async with connection(addresses, token) as client:
            again = await client.connect(resume=resume_of(welcome, sent_lo=1, sent_hi=50))
            assert again["resumed"] is True
            assert again["recv_seq"] >= promised >= 1
            for n in range(again["recv_seq"] + 1, 51):
                await client.send(type="msg.echo", seq=n, id=f"m-{n}", payload={"n": n})
            events = [await client.receive_until("msg.event") for _ in range(50)]
            assert [event["payload"]["n"] for event in events] == list(range(1, 51))
            assert [event["seq"] for event in events] == list(range(1, 51))

    with hub_process(f"store_path={store}") as (process, addresses):
        token, welcome, promised = trio.run(before, addresses)
        assert process.wait(10) == -signal.SIGKILL
    with hub_process(f"store_path={store}") as (_, addresses):
        trio.run(after, addresses, token, welcome, promised)

    effects = SessionStore(Seams().store(store), lambda: "another").effects()
    assert [effect.id for effect in effects] == [f"m-{n}" for n in range(1, 51)]


@pytest.mark.parametrize("wanted", [signal.SIGTERM, signal.SIGINT])
def test_a_hub_that_is_asked_to_end_says_goodbye_and_ends_with_0(wanted: signal.Signals) -> None:
    async def main(addresses: Json, pid: int) -> None:
        async with connection(addresses, await sign_in(addresses)) as client:
            await client.connect()
            os.kill(pid, wanted)
            assert (await client.receive_until("goaway"))["payload"]["reason"] == "draining"
            assert (await client.closed())[0] == 4003

    with hub_process() as (process, addresses):
        trio.run(main, addresses, process.pid)
        assert process.wait(10) == ExitStatus.CLEAN


def test_the_addresses_are_real_and_on_loopback() -> None:
    with hub_process() as (process, addresses):
        assert addresses["pid"] == process.pid
        assert addresses["ready"] is True
        for name in ("api_url", "token_url", "realtime_url", "avatar_url"):
            assert "//127.0.0.1:" in addresses[name]
            assert ":0" not in addresses[name]


@pytest.mark.parametrize(
    "arguments, environment, expected, status",
    [
        (["heartbeat=soon"], ENVIRONMENT, "hub.heartbeat: wanted", ExitStatus.CONFIGURATION),
        ([], {**ENVIRONMENT, "HOLDFAST_HUB_API_KEYS": ""}, "HOLDFAST_HUB_API_KEYS", ExitStatus.CONFIGURATION),
        (["store_path=/dev/null/hub.db"], ENVIRONMENT, "/dev/null", ExitStatus.FAILED),
        (["host=192.0.2.1"], ENVIRONMENT, "could not be started", ExitStatus.FAILED),
    ],
)
def test_a_hub_that_cannot_run_says_why_and_ends_with_its_status(
    arguments: Sequence[str], environment: dict[str, str], expected: str, status: ExitStatus
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "holdfast.actors.hub", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=20,
        check=False,
    )

    assert done.returncode == status
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""

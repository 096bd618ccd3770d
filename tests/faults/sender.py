"""A process to be killed: sends numbered messages from a store, and says each number once it is accepted.

    python sender.py STORE URL API_URL FIRST COUNT

The API key comes on stdin, which is no place that others can read.  What an
earlier process left is delivered, too.
"""

from __future__ import annotations

import sys

import trio

from holdfast.actors.client import open_client
from holdfast.runtime import Secret


async def main(store: str, url: str, api: str, first: int, count: int) -> None:
    configuration = {
        "connection": {"url": url, "client_id": "sender"},
        "auth": {"api_endpoint": api, "api_key": Secret(sys.stdin.readline().strip())},
        "delivery": {"store": store},
    }
    async with open_client(configuration) as client:
        await client.connect()
        for number in range(first, first + count):
            await client.send({"n": number}, id=f"n-{number}")
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
        while (await client.delivery_state()).outbox_depth:  # noqa: ASYNC110 - nobody says that it is empty
            await trio.sleep(0.01)
        sys.stdout.write("delivered\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _program, store_path, realtime_url, api_url, first_number, how_many = sys.argv
    trio.run(main, store_path, realtime_url, api_url, int(first_number), int(how_many))

"""Numbered messages both ways, and the audit of what became of them.

Up: the client publishes numbers, the hub's durable log of effects is the
witness.  Down: the hub echoes each of them, and what the client received is the
witness.  Lost, doubled and out of order are all one inequality of two lists.
"""

from __future__ import annotations

import json
from contextlib import suppress

import attrs
import trio
from tests.stories.world import World, until

from holdfast.actors.client import Client

__all__ = ["Traffic"]


@attrs.define(eq=False)
class Traffic:
    """The numbers of one client."""

    world: World
    client: Client
    sent: list[int] = attrs.field(factory=list[int])
    """Accepted by the client, in order."""
    received: list[int] = attrs.field(factory=list[int])
    _stopped: bool = False

    async def send(self, count: int, *, every: float = 0.0) -> None:
        """Send the next `count` numbers."""
        for _ in range(count):
            number = len(self.sent)
            # The id is the number's: a message sent again is the same message.
            await self.client.send({"n": number}, type="msg.echo", id=f"n-{number}")
            self.sent.append(number)
            if every:
                await trio.sleep(every)

    async def receive(self) -> None:
        """Take whatever comes, for ever."""
        async for message in self.client.messages():
            self.received.append(int(str(message.payload["n"])))

    async def settled(self, *, within: float = 30.0) -> float:
        """Wait until every number is back; return how long it took."""
        began = trio.current_time()
        with suppress(trio.TooSlowError):
            await until(lambda: self.received == self.sent, within=within)
        self.check()
        return trio.current_time() - began

    def check(self) -> None:
        """Nothing lost, doubled or reordered, in either direction."""
        assert self.arrived() == self.sent
        assert self.received == self.sent

    def arrived(self) -> list[int]:
        """Return the numbers that took effect at the hub, in the order in which they did."""
        return [
            json.loads(effect.payload)["n"]
            for effect in self.world.hub.effects()
            if effect.type == "msg.echo" and b'"n"' in effect.payload
        ]

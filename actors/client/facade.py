"""The door for embedders: one object that outlives every restart behind it.

    async with open_client(settings) as client:
        await client.connect()
        await client.send({"text": "hello"}, channel="room:7")
        async for message in client.messages():
            ...

The facade holds refs, which survive restarts, and what must not be lost between
an actor's crash and its next incarnation: the id of a message that is being
accepted, and the place in the inbox.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec
import trio

from holdfast.actors.auth.messages import GetAuthState, Logout, ValidateToken
from holdfast.actors.avatar.messages import (
    AvatarSession,
    AvatarState,
    Cleanup,
    GetAvatarState,
    InitializeSession,
    InterruptSpeech,
    SynchronizeWithVoice,
)
from holdfast.actors.client.arguments import audio, json_object, optional_text, text, whole_number
from holdfast.actors.client.messages import (
    ClientState,
    ConnectClient,
    ConnectTimeout,
    DisconnectClient,
    GetClientState,
    MessageUnreadable,
    RetryLink,
)
from holdfast.actors.client.received import ReceivedMessage, read_message
from holdfast.actors.client.settings import ClientSettings
from holdfast.actors.client.topology import Siblings
from holdfast.actors.client.upkeep import AGAIN_AFTER, Upkeep
from holdfast.actors.delivery.messages import (
    Append,
    AppendVolatile,
    Batch,
    DeliveryState,
    GetDeliveryState,
    GetPreservedState,
    Inbound,
    PreserveState,
    Take,
)
from holdfast.runtime import (
    ActorCrashed,
    ActorGone,
    AskTimeout,
    Event,
    HoldfastError,
    Subscription,
    System,
)
from holdfast.supervisors import SupervisorHandle

__all__ = ["Client", "ReceivedMessage", "SendFailed"]

# The states of delivery in which acknowledgements come.
LINKED = frozenset({"ready", "replaying"})

# A message that crashes whoever takes it is tried this often: half of the session's budget.
SEND_CRASHES = 3


class SendFailed(HoldfastError):
    """Whether a message was accepted is unknown: send it again with this `id`, or not at all."""

    def __init__(self, id: str, timeout: float, cause: BaseException) -> None:  # noqa: A002
        super().__init__(
            f"message {id} was not accepted within {timeout:g} s ({cause}); "
            f"sending it again with the same id cannot double it"
        )
        self.id = id


class Client(Upkeep):
    """A realtime session, as a program holds it."""

    def __init__(
        self, system: System, root: SupervisorHandle, refs: Siblings, settings: Callable[[], ClientSettings]
    ) -> None:
        super().__init__(system, root, refs)
        self._settings = settings
        self._inbox: deque[Inbound] = deque()
        self._processed = 0
        self._receiving = trio.Lock()

    # ---- the session's life ------------------------------------------------------------------------

    async def connect(self) -> None:
        """Bring the session up: token, link, resume, avatar (A4.1).

        Raises `ConnectFailed` at a verdict that no retry cures, `ConnectTimeout` when it
        is not up in time; it is tried on in the background then.  Cancelling the
        wait cancels nothing else.
        """
        timeout = self._settings().connect_timeout
        try:
            await self._ask_through(self._refs.client, ConnectClient, timeout)
        except AskTimeout as error:
            state = await self.state()
            raise ConnectTimeout(timeout, f"{state.phase}, link {state.link.state}") from error

    async def disconnect(self) -> None:
        """Take the session down in order (A4.3), once what was sent has arrived, if that takes no longer
        than `flush_timeout`.  What was not acknowledged stays in the store.
        """
        await self.flush(self._settings().flush_timeout)
        await self._ask_through(self._refs.client, DisconnectClient, self._settings().connect_timeout)

    async def reconnect(self) -> None:
        """Try the link now: leaves `failed` and `suspended`, and cuts a back-off short."""
        await self._ask_through(self._refs.client, RetryLink, 5.0)

    async def state(self) -> ClientState:
        """Return where the session stands."""
        return await self._ask_through(self._refs.client, GetClientState, 5.0)

    async def is_connected(self) -> bool:
        """Whether the link is up now."""
        return (await self.state()).link.state == "connected"

    async def is_authenticated(self) -> bool:
        """Whether there is a token that holds now."""
        return (await self._ask_through(self._refs.auth, GetAuthState, 5.0)).authenticated

    async def logout(self) -> None:
        """Forget both tokens; the next connect logs in anew (A1.7)."""
        await self._ask_through(self._refs.auth, Logout, 5.0)

    async def validate_token(self) -> bool:
        """Whether there is a good token; an expired one gets one attempt at a refresh (A1.4)."""
        return await self._ask_through(self._refs.auth, ValidateToken, 10.0)

    # ---- messages ----------------------------------------------------------------------------------

    async def send(
        self,
        payload: Mapping[str, object],
        *,
        type: str = "msg.publish",  # noqa: A002 - the protocol's word
        channel: str | None = None,
        id: str | None = None,  # noqa: A002
    ) -> str:
        """Accept a message for delivery and return its id; it is committed to the store when this returns.

        It survives a reconnect, the crash of any actor and a full restart, in order, and
        a kill of the process where `delivery.store` names a file.  Raises `SendFailed`
        (the outcome is unknown: repeat with the id), `OutboxFull`, `MessageTooLarge`,
        `MessageInvalid`, `InvalidArgument` or `StoreUnavailable` (nothing was accepted).
        """
        # Chosen before the first attempt: asked again with the same id, delivery accepts it once.
        message_id = text("id", id) if id is not None else self.new_id()
        raw = msgspec.Raw(json_object("payload", payload))
        type, channel = text("type", type), optional_text("channel", channel)  # noqa: A001
        timeout = self._settings().send_timeout
        try:
            await self._ask_through(
                self._refs.delivery,
                lambda: Append(id=message_id, type=type, channel=channel, payload=raw),
                timeout,
                crashes=SEND_CRASHES,
            )
        except (AskTimeout, ActorCrashed, ActorGone) as error:
            raise SendFailed(message_id, timeout, error) from error
        return message_id

    async def flush(self, timeout: float) -> bool:
        """Wait until the hub has everything accepted so far; False when time or the link runs out first."""
        deadline = self.system.now() + timeout
        while (state := await self.delivery_state()).outbox_depth:
            if state.link not in LINKED or self.system.now() >= deadline:
                return False
            await trio.sleep(AGAIN_AFTER)
        return True

    async def subscribe(self, channel: str) -> str:
        """Ask the hub for the messages of a channel; delivered like any other message."""
        return await self.send({"channel": channel}, type="msg.subscribe")

    async def unsubscribe(self, channel: str) -> str:
        """Ask for no more messages of a channel."""
        return await self.send({"channel": channel}, type="msg.unsubscribe")

    async def echo(self, payload: Mapping[str, object]) -> str:
        """Have the hub send the payload back; the answer's `re` is the returned id."""
        return await self.send(payload, type="msg.echo")

    def send_volatile(
        self,
        payload: Mapping[str, object],
        *,
        type: str,  # noqa: A002
        channel: str | None = None,
    ) -> None:
        """Send what is worthless later: dropped, and counted, when the link is down."""
        raw = msgspec.Raw(json_object("payload", payload))
        volatile = AppendVolatile(
            type=text("type", type), channel=optional_text("channel", channel), payload=raw
        )
        self._refs.delivery.tell(volatile)

    async def receive(self) -> ReceivedMessage:
        """Wait for the next message, in order.

        Messages are fetched in batches, and a batch is committed as processed when
        the one after it is fetched, or by `commit`: a process that is killed in
        between sees the batch again.  Within one process nothing comes twice.
        """
        async with self._receiving:
            while True:
                while not self._inbox:
                    await self._fetch()
                message = self._inbox.popleft()
                self._processed = message.position
                received = self._read(message)
                if received is not None:
                    return received

    async def receive_batch(self) -> list[ReceivedMessage]:
        """Wait for messages and return all that were fetched together, in order; never none.

        For applications that write down many at once; committed like those of `receive`.
        """
        async with self._receiving:
            batch: list[ReceivedMessage] = []
            while not batch:
                while not self._inbox:
                    await self._fetch()
                readable = (self._read(message) for message in self._inbox)
                batch = [message for message in readable if message is not None]
                self._processed = self._inbox[-1].position
                self._inbox.clear()
            return batch

    async def messages(self) -> AsyncIterator[ReceivedMessage]:
        """Yield messages for ever, as `receive` does."""
        while True:
            yield await self.receive()

    async def commit(self) -> None:
        """Commit everything received so far as processed: it does not come again, not even after a kill."""
        # Asked beside whoever waits in `receive`, for the commit alone: what this answers, that answers too.
        await self._take(limit=1, wait=0.0)

    def _read(self, message: Inbound) -> ReceivedMessage | None:
        """Return the message as the application sees it; None, and an event, when nobody can read it."""
        read = read_message(message)
        if isinstance(read, MessageUnreadable):
            self.system.events.publish(read)
            return None
        return read

    async def _fetch(self) -> None:
        settings = self._settings()
        batch = await self._take(limit=settings.receive_batch, wait=settings.receive_wait)
        self._inbox.extend(batch.messages)

    async def _take(self, *, limit: int, wait: float) -> Batch:
        return await self._ask_through(
            self._refs.delivery,
            lambda: Take(after=self._processed, limit=limit, wait=wait),
            wait + 10.0,
        )

    async def delivery_state(self) -> DeliveryState:
        """Return the depths of outbox and inbox and the counters of delivery."""
        return await self._ask_through(self._refs.delivery, GetDeliveryState, 5.0)

    # ---- state of the application ------------------------------------------------------------------

    async def preserve_state(self, state: Mapping[str, object], *, name: str = "application") -> None:
        """Keep an application's state over reconnects, restarts and the process's end (A2.5)."""
        request = PreserveState(name=text("name", name), state=json_object("state", state))
        await self._ask_through(self._refs.delivery, lambda: request, 10.0)

    async def preserved_state(self, *, name: str = "application") -> dict[str, object] | None:
        """Return what was preserved, or None."""
        request = GetPreservedState(name=text("name", name))
        raw = await self._ask_through(self._refs.delivery, lambda: request, 10.0)
        return None if raw is None else msgspec.json.decode(raw, type=dict[str, object])

    # ---- avatar ------------------------------------------------------------------------------------

    async def initialize_avatar(
        self, avatar_id: str, *, quality: str = "high", background: str = "transparent"
    ) -> AvatarSession:
        """Open an avatar session (A6.1); an `AvatarError` says why there is none."""
        request = InitializeSession(
            avatar_id=text("avatar_id", avatar_id),
            quality=text("quality", quality),
            background=text("background", background),
        )
        return await self._refs.avatar.ask(request, timeout=40.0)

    async def synchronize_with_voice(
        self, voice_id: str, audio_data: bytes, *, speaking: bool = True, sample_rate: int = 24_000
    ) -> None:
        """Let the avatar speak this audio (A6.2): PCM s16le mono, 24 kHz."""
        await self._refs.avatar.ask(
            SynchronizeWithVoice(
                voice_id=text("voice_id", voice_id),
                speaking=bool(speaking),
                audio_data=audio("audio_data", audio_data),
                sample_rate=whole_number("sample_rate", sample_rate),
            )
        )

    async def interrupt_avatar(self) -> None:
        """Be silent now."""
        await self._refs.avatar.ask(InterruptSpeech())

    async def cleanup_avatar(self) -> None:
        """Close the remote avatar session (A6.4)."""
        await self._refs.avatar.ask(Cleanup(), timeout=20.0)

    async def avatar_state(self) -> AvatarState:
        """Return where the avatar stands."""
        return await self._refs.avatar.ask(GetAvatarState())

    # ---- health ------------------------------------------------------------------------------------

    def events(self, capacity: int = 1024, *, wanted: Callable[[Event], bool] | None = None) -> Subscription:
        """Subscribe to everything that happens, from now on; close the subscription when done.

        It survives every restart.  A reader that is more than `capacity` behind loses the oldest, counted.
        """
        return self.system.events.subscribe(capacity, wanted=wanted)

    # ---- how it asks -------------------------------------------------------------------------------

    def new_id(self) -> str:
        """Return a new message id: a UUID of version 7 (RFC 9562), so that ids sort by time."""
        seams = self.system.seams
        milliseconds = int(seams.wall_clock.now() * 1000) & ((1 << 48) - 1)
        random = int.from_bytes(seams.entropy(10), "big")
        value = milliseconds << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & ((1 << 62) - 1)
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

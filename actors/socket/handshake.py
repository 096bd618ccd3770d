"""What is agreed when a connection opens: hello, connect, welcome (REALTIME 1.2).

The hub announces its limits, we claim the session that delivery remembers, the
hub answers which session it is.  Of two limits the smaller holds; of two
heartbeats too.  Pure, and of one connection only.
"""

from __future__ import annotations

import attrs

from holdfast.actors.delivery.messages import LinkUp, Resume
from holdfast.actors.socket.codec import (
    ClientInfo,
    ConnectBody,
    Hello,
    ResumeClaim,
    Welcome,
    control_frame,
    resume_claim,
)
from holdfast.actors.socket.messages import Frame
from holdfast.actors.socket.settings import SocketSettings
from holdfast.runtime import Secret

__all__ = ["VERSION", "Handshake"]

# The protocol version that we speak.
VERSION = 1


@attrs.define
class Handshake:
    settings: SocketSettings
    resume: Resume
    fresh_session: bool
    """The last session was refused: claim none, whatever is remembered."""

    heartbeat: float = attrs.field(init=False)
    max_frame: int = attrs.field(init=False)
    batch: bool = attrs.field(default=False, init=False)
    """The hub takes several frames in one message."""

    hello: Hello | None = attrs.field(default=None, init=False)
    welcome: Welcome | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.heartbeat = self.settings.heartbeat
        self.max_frame = self.settings.max_frame

    def greet(self, hello: Hello) -> Frame:
        """Take the hub's limits; return our `connect`."""
        self.hello = hello
        self.max_frame = min(self.max_frame, hello.max_frame)
        self.batch = "batch" in hello.caps
        self._shorten_heartbeat(hello.hb_ms)
        client = ClientInfo(self.settings.client_name, self.settings.client_version)
        body = ConnectBody(client_id=self.resume.client_id, client=client, resume=self._claim())
        return control_frame("connect", body)

    def accept(self, welcome: Welcome) -> str | None:
        """Take the hub's answer; return what is wrong with it, or None."""
        if self.hello is None:
            return "a welcome frame before the hello"
        if welcome.resumed and self._claim() is None:
            return "a welcome frame that resumes a session nobody asked for"
        self.welcome = welcome
        self.batch = self.batch or "batch" in welcome.caps
        self._shorten_heartbeat(welcome.hb_ms)
        return None

    def link_up(self, generation: int) -> LinkUp:
        """What delivery has to know of the agreed session."""
        hello, welcome = self.hello, self.welcome
        assert hello is not None, "asked for once the hello was taken"
        assert welcome is not None, "and the welcome"
        return LinkUp(
            generation=generation,
            session=welcome.session,
            key=Secret(welcome.key),
            epoch=welcome.epoch,
            resumed=welcome.resumed,
            why=welcome.why,
            recv_seq=welcome.recv_seq,
            session_ttl=welcome.session_ttl_ms / 1000,
            window_frames=hello.window.frames,
            window_bytes=hello.window.bytes,
            max_frame=self.max_frame,
        )

    def _claim(self) -> ResumeClaim | None:
        resume = self.resume
        if self.fresh_session or not resume.session or resume.key is None:
            return None
        return resume_claim(
            resume.session,
            resume.key,
            resume.epoch or "",
            recv_seq=resume.recv_seq,
            sent_lo=resume.sent_lo,
            sent_hi=resume.sent_hi,
        )

    def _shorten_heartbeat(self, asked_ms: int | None) -> None:
        """The hub may have it shorter, never longer, and not so short that we flood it (SEMANTICS "Time")."""
        if asked_ms is not None:
            least = min(self.settings.heartbeat, self.settings.heartbeat_min)
            self.heartbeat = min(self.heartbeat, max(asked_ms / 1000, least))

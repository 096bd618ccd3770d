"""Frames to bytes and back: the client's own reading of `rt.v1.json` (REALTIME 1.2).

What comes in is not trusted.  A frame that is not understood becomes a `Rejected`
with its reason and size and costs nothing else: its neighbours in a batch are
kept, the connection goes on (A3.3).  Only a message over the size limit raises.
No reason ever quotes what was received; it might be a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import attrs
import msgspec

from holdfast.actors.socket.messages import NO_PAYLOAD, Frame
from holdfast.runtime import HoldfastError, Secret

__all__ = [
    "BATCH_MAX",
    "SUBPROTOCOL",
    "AuthExpiring",
    "AuthOk",
    "AuthRefresh",
    "Beat",
    "Bye",
    "ClientInfo",
    "ConnectBody",
    "Control",
    "Decoded",
    "ErrorBody",
    "FrameTooBig",
    "Goaway",
    "Hello",
    "Rejected",
    "ReplayEnd",
    "ResumeClaim",
    "Welcome",
    "Window",
    "auth_refresh",
    "control_frame",
    "decode",
    "decode_control",
    "encode",
    "encode_batch",
    "plain",
    "resume_claim",
]

SUBPROTOCOL = "rt.v1.json"

# Frames in one WebSocket message, either way: no more than a window (256) can hold.
BATCH_MAX = 256

# Milliseconds that still make sense: a day; a hub that says more means "for ever".
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
# A heartbeat of no time is none; and what does not even fit a float is no time at all.
Heartbeat = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Text = Annotated[str, msgspec.Meta(max_length=1024)]


class FrameTooBig(HoldfastError):
    """The hub sent a message over the limit: the connection is closed with 4306."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a message of {size} bytes came in, over the limit of {limit}")
        self.size = size
        self.limit = limit


@attrs.frozen
class Rejected:
    """Something that came in and is no frame we can use."""

    why: str
    size: int


@attrs.frozen
class Decoded:
    frames: tuple[Frame, ...]
    rejected: tuple[Rejected, ...] = ()
    batch: bool = False


class Window(msgspec.Struct, frozen=True):
    """How much may be un-acknowledged."""

    frames: Annotated[int, msgspec.Meta(ge=1, le=2**31)] = 256
    bytes: Annotated[int, msgspec.Meta(ge=1024, le=2**40)] = 1_048_576


class Hello(msgspec.Struct, frozen=True):
    v: Count
    hb_ms: Heartbeat | None = None
    max_frame: Annotated[int, msgspec.Meta(ge=1024, le=2**53 - 1)] = 262_144
    window: Window = Window()
    caps: tuple[str, ...] = ()


class ResumeClaim(msgspec.Struct, frozen=True):
    session: str
    key: str
    epoch: str
    recv_seq: int
    sent_lo: int
    sent_hi: int


class ClientInfo(msgspec.Struct, frozen=True):
    name: str
    ver: str


class ConnectBody(msgspec.Struct, frozen=True):
    """No token: it was presented in the upgrade request (REALTIME 1.2, a)."""

    client_id: str
    client: ClientInfo
    caps: tuple[str, ...] = ("batch",)
    resume: ResumeClaim | None = None


class Welcome(msgspec.Struct, frozen=True):
    session: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    key: Annotated[str, msgspec.Meta(max_length=1024)]
    epoch: Annotated[str, msgspec.Meta(max_length=256)]
    resumed: bool
    why: Text | None = None
    recv_seq: Count = 0
    session_ttl_ms: Milliseconds = 0
    token_exp_ms: Milliseconds | None = None
    hb_ms: Heartbeat | None = None
    caps: tuple[str, ...] = ()


class ReplayEnd(msgspec.Struct, frozen=True):
    through: Count = 0


class Beat(msgspec.Struct, frozen=True):
    n: int = 0


class AuthRefresh(msgspec.Struct, frozen=True):
    """Made by `auth_refresh` alone: its token is not wrapped any more."""

    token: str


class AuthOk(msgspec.Struct, frozen=True):
    exp_ms: Milliseconds | None = None


class AuthExpiring(msgspec.Struct, frozen=True):
    in_ms: Milliseconds = 0


class Goaway(msgspec.Struct, frozen=True):
    reason: Text = ""
    reconnect_in_ms: tuple[Milliseconds, Milliseconds] = (0, 0)
    deadline_ms: Milliseconds = 0


class ErrorBody(msgspec.Struct, frozen=True):
    code: str | int = ""
    message: Text = ""
    retryable: bool = True
    retry_after_ms: Milliseconds | None = None


class Bye(msgspec.Struct, frozen=True):
    reason: Text = ""


Control = Hello | Welcome | ReplayEnd | Beat | AuthOk | AuthExpiring | Goaway | ErrorBody | Bye

# What a hub may send us that is not the application's; every other type goes to delivery.
_CONTROL: dict[str, msgspec.json.Decoder[Control]] = {
    name: msgspec.json.Decoder(body)
    for name, body in {
        "hello": Hello,
        "welcome": Welcome,
        "replay.end": ReplayEnd,
        "ping": Beat,
        "pong": Beat,
        "auth.ok": AuthOk,
        "auth.expiring": AuthExpiring,
        "goaway": Goaway,
        "error": ErrorBody,
        "bye": Bye,
    }.items()
}
_FRAME = msgspec.json.Decoder(Frame)
_BATCH = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODER = msgspec.json.Encoder()

# What reading untrusted text may raise: msgspec's own errors are ValueErrors too,
# and so is a broken UTF-8 sequence; the third is for nesting without end.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def decode(message: str | bytes, max_frame: int) -> Decoded:
    """Read one WebSocket message: a frame, or a batch of them.

    Raises `FrameTooBig` and nothing else.
    """
    if isinstance(message, bytes):
        _refuse_oversize(len(message), max_frame)
        return Decoded((), (Rejected("a binary message came in, rt.v1.json is text", len(message)),))
    size = len(message) if message.isascii() else len(message.encode("utf-8", "surrogatepass"))
    _refuse_oversize(size, max_frame)
    if not message.lstrip(" \t\r\n").startswith("["):
        return _collect([_decode_one(message, size)])
    try:
        parts = _BATCH.decode(message)
    except _UNREADABLE as error:
        return Decoded((), (Rejected(f"not a JSON array of frames ({_named(error)})", size),))
    if len(parts) > BATCH_MAX:
        return Decoded(
            (), (Rejected(f"a batch of {len(parts)} frames, over the limit of {BATCH_MAX}", size),)
        )
    return attrs.evolve(_collect([_decode_one(bytes(part), len(part)) for part in parts]), batch=True)


def decode_control(frame: Frame) -> Control | Rejected | None:
    """Return the body of a control frame; None for a frame of the application."""
    decoder = _CONTROL.get(frame.type)
    if decoder is None:
        return None
    size = len(frame.payload)
    if frame.seq is not None:
        return Rejected(f"a {frame.type} frame with a sequence number: control frames carry none", size)
    try:
        body = decoder.decode(frame.payload if size else b"{}")
    except _UNREADABLE as error:
        return Rejected(f"a {frame.type} frame with a payload that is not its own ({_named(error)})", size)
    return _in_plain_words(body)


def plain(text: str) -> str:
    """Return words of the hub as one line of what prints: no line ends, no control of a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _in_plain_words(body: Control) -> Control:
    """Clean what people will read of it in events, errors and logs."""
    match body:
        case Goaway() | Bye():
            return msgspec.structs.replace(body, reason=plain(body.reason))
        case ErrorBody():
            return msgspec.structs.replace(body, code=plain(str(body.code)), message=plain(body.message))
        case _:
            return body


def control_frame(
    kind: str,
    body: msgspec.Struct,
    *,
    name: str | None = None,
    ack: int | None = None,
) -> Frame:
    """Make a frame of ours around its body; `name` is its id."""
    return Frame(type=kind, id=name, ack=ack, payload=msgspec.Raw(_ENCODER.encode(body)))


def auth_refresh(token: Secret) -> AuthRefresh:
    """A newer token for the connection; here it leaves its wrapper, for the wire."""
    return AuthRefresh(token.reveal())


def resume_claim(
    session: str, key: Secret, epoch: str, *, recv_seq: int, sent_lo: int, sent_hi: int
) -> ResumeClaim:
    """The claim on a session; here the key leaves its wrapper, for the wire."""
    return ResumeClaim(session, key.reveal(), epoch, recv_seq, sent_lo, sent_hi)


def encode(frame: Frame) -> bytes:
    return _ENCODER.encode(frame)


def encode_batch(encoded: Sequence[bytes]) -> bytes:
    """Join encoded frames into one message; a single one needs no array."""
    return encoded[0] if len(encoded) == 1 else b"[" + b",".join(encoded) + b"]"


def _decode_one(text: str | bytes, size: int) -> Frame | Rejected:
    try:
        frame = _FRAME.decode(text)
    except _UNREADABLE as error:
        return Rejected(f"not a frame ({_named(error)})", size)
    payload = bytes(frame.payload)
    if payload == b"null":
        return msgspec.structs.replace(frame, payload=NO_PAYLOAD)
    if payload and not payload.startswith(b"{"):
        return Rejected("a frame whose payload is not a JSON object", size)
    # The raw part would keep the whole message alive for as long as one frame waits.
    return msgspec.structs.replace(frame, payload=msgspec.Raw(payload) if payload else NO_PAYLOAD)


def _collect(results: Sequence[Frame | Rejected]) -> Decoded:
    return Decoded(
        tuple(each for each in results if isinstance(each, Frame)),
        tuple(each for each in results if isinstance(each, Rejected)),
    )


def _named(error: BaseException) -> str:
    """What was wrong, as far as it names fields and types; never a value that was received."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, msgspec.ValidationError):
        # "Expected `str`, got `int` - at `$.type`": types and a path.
        return str(error)[:200]
    return "malformed JSON"


def _refuse_oversize(size: int, limit: int) -> None:
    if size > limit:
        raise FrameTooBig(size, limit)

from __future__ import annotations

import msgspec
import pytest
import trio
from tests.actors.avatar.conftest import API_KEY, AVATAR, Stage, open_stage, playing, stage_for

from holdfast.actors.avatar.messages import (
    AvatarDisabled,
    AvatarServiceError,
    AvatarSessionExists,
    AvatarSessionLost,
    AvatarValueRefused,
    Cleanup,
    InterruptSpeech,
    NoAvatarSession,
    SessionCleanup,
    SessionCreated,
    SessionError,
    SpeechQueueFull,
    SynchronizeWithVoice,
    TooManyUnreleased,
    VoiceCoordination,
)
from holdfast.actors.hub.avatar_sessions import SANDBOX_AVATAR
from holdfast.runtime import ActorStarted, InjectedFault
from holdfast.runtime.testing import on_trio, settled
from holdfast.supervisors import FullRestart
from holdfast.supervisors.tree import restart_path

ONE_SECOND = bytes(range(240)) * 200  # 48,000 bytes of speech


async def wait_until_gone(stage: Stage) -> None:
    """Give sweeps and restarts the time they may take."""
    for _step in range(400):
        await trio.sleep(0.5)
        if not stage.sessions.active and not stage.ledger.recorded():
            return
    pytest.fail("a session is left")


async def speak(
    stage: Stage, audio: bytes = ONE_SECOND, *, speaking: bool = True, rate: int = 24_000
) -> None:
    await stage.avatar.ask(SynchronizeWithVoice("voice-1", speaking, audio, rate))


def sent_types(stage: Stage) -> list[str]:
    return [packet.type for packet in stage.remote.packets]


# -- A6.1: a session


@on_trio
async def test_an_initialized_session_is_active_and_announced() -> None:  # A6.1
    async with open_stage() as stage:
        session = await stage.initialize()

        assert session.session_id == stage.remote.id
        assert (session.avatar_id, session.status) == (AVATAR, "active")
        assert session.websocket_url.startswith("ws://127.0.0.1:")
        (created,) = stage.of(SessionCreated)
        assert (created.session_id, created.status) == (session.session_id, "active")


@on_trio
async def test_the_credential_in_the_websocket_url_is_not_announced() -> None:  # A5.7
    async with open_stage() as stage:
        session = await stage.initialize()

        key = stage.remote.link_key.reveal()
        assert key in session.websocket_url
        assert key not in repr(stage.events)
        assert stage.of(SessionCreated)[0].websocket_url == session.websocket_url.partition("?")[0]


@on_trio
async def test_quality_is_sent_and_a_transparent_background_is_kept_here() -> None:  # A6.0
    async with open_stage() as stage:
        await stage.initialize(quality="low", background="transparent")

        asked = msgspec.json.decode(stage.fetched[0].body)
        assert asked["video_settings"] == {"quality": "low"}
        assert asked["mode"] == "LITE"
        assert "background" not in asked


@pytest.mark.parametrize("name, value", [("quality", "ultra"), ("background", "beach"), ("avatar_id", "")])
@on_trio
async def test_what_the_service_cannot_honour_is_refused_by_name_and_never_sent(
    name: str, value: str
) -> None:
    async with open_stage() as stage:  # A6.0
        with pytest.raises(AvatarValueRefused, match=f"^{name} must be"):
            await stage.initialize(**{name: value})

        assert stage.fetched == []
        assert stage.of(SessionError) == []


@on_trio
async def test_asking_again_answers_the_session_that_is_there() -> None:
    async with open_stage() as stage:
        first = await stage.initialize()
        assert await stage.initialize() == first
        assert len(stage.of(SessionCreated)) == 1


@on_trio
async def test_two_who_ask_at_once_share_one_session() -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stage.initialize)
        await stage.initialize()
        assert stage.operations == ["token", "start"]


@on_trio
async def test_another_avatar_is_refused_while_a_session_is_open() -> None:
    async with open_stage() as stage:
        await stage.initialize()
        with pytest.raises(AvatarSessionExists, match="clean it up first"):
            await stage.initialize(quality="low")


@on_trio
async def test_a_disabled_avatar_says_so() -> None:
    async with open_stage(enabled=False) as stage:
        with pytest.raises(AvatarDisabled, match=r"avatar\.enabled is false"):
            await stage.initialize()


@on_trio
async def test_an_avatar_without_a_key_says_what_is_missing() -> None:
    async with open_stage(api_url="") as stage:
        with pytest.raises(AvatarDisabled, match=r"avatar\.api_url not set"):
            await stage.initialize()


# -- A6.2: speech


@on_trio
async def test_speech_arrives_whole_in_order_and_in_documented_chunks() -> None:  # A6.2
    async with open_stage() as stage:
        session = await stage.initialize()
        await speak(stage, ONE_SECOND * 2)
        await speak(stage, ONE_SECOND[:100], speaking=False)
        await settled()

        assert bytes(stage.remote.audio) == ONE_SECOND * 2 + ONE_SECOND[:100]
        chunks = [packet for packet in stage.remote.packets if packet.type == "agent.speak"]
        assert [chunk.size for chunk in chunks][:2] == [28_800, 48_000]
        assert len({chunk.event_id for chunk in chunks}) == 1
        assert sent_types(stage)[-1] == "agent.speak_end"
        assert stage.of(VoiceCoordination)[0] == VoiceCoordination(session.session_id, "voice-1", True, True)
        assert not stage.of(VoiceCoordination)[1].speaking


@on_trio
async def test_the_avatar_is_speaking_from_the_first_chunk_to_speak_end() -> None:  # A6.0
    async with open_stage() as stage:
        await stage.initialize()
        before = await stage.state()
        await speak(stage)
        await settled()
        during = await stage.state()
        await speak(stage, b"", speaking=False)
        await settled()
        after = await stage.state()

        assert (before.phase, before.speaking, before.voice_sync) == ("listening", False, False)
        assert (during.phase, during.speaking, during.voice_sync) == ("speaking", True, True)
        assert (after.phase, after.speaking, after.voice_sync) == ("listening", False, True)


@on_trio
async def test_it_listens_again_only_when_the_avatar_has_finished() -> None:
    async with open_stage() as stage:
        await stage.initialize()
        await speak(stage, speaking=False)
        await trio.sleep(0.9)
        assert sent_types(stage) == [
            "agent.start_listening", "agent.stop_listening", "agent.speak", "agent.speak", "agent.speak_end",
        ]  # fmt: skip
        await trio.sleep(0.2)
        assert sent_types(stage)[-1] == "agent.start_listening"


@on_trio
async def test_another_sample_rate_is_refused_with_both_rates_named() -> None:  # A6.0
    async with open_stage() as stage:
        await stage.initialize()
        with pytest.raises(
            AvatarValueRefused, match=r"24000 Hz \(resampling is not built yet\), got 16000 Hz"
        ):
            await speak(stage, rate=16_000)
        await settled()
        assert "agent.speak" not in sent_types(stage)


@on_trio
async def test_half_a_sample_is_refused() -> None:
    async with open_stage() as stage:
        await stage.initialize()
        with pytest.raises(AvatarValueRefused, match="audio_data must be whole 16-bit samples"):
            await speak(stage, b"\0\0\0")


@on_trio
async def test_too_much_speech_at_once_is_refused_whole() -> None:
    async with open_stage(max_speech=100_000, speech_queue=100_000) as stage:
        await stage.initialize()
        with pytest.raises(AvatarValueRefused, match="at most 100000 bytes; split it"):
            await speak(stage, bytes(100_002))
        await speak(stage, bytes(100_000))
        with pytest.raises(SpeechQueueFull, match="none of it was accepted"):
            await speak(stage, bytes(100_000))
        await settled()
        assert len(stage.remote.audio) == 100_000


@on_trio
async def test_speech_without_a_session_is_refused() -> None:
    async with open_stage() as stage:
        with pytest.raises(NoAvatarSession, match="it is idle"):
            await speak(stage)
        with pytest.raises(NoAvatarSession):
            await stage.avatar.ask(InterruptSpeech())


@on_trio
async def test_an_interrupt_silences_both_sides() -> None:
    async with open_stage() as stage:
        await stage.initialize()
        await speak(stage, ONE_SECOND * 10)
        while not stage.remote.audio:
            await trio.lowlevel.checkpoint()
        await stage.avatar.ask(InterruptSpeech())
        await settled()

        assert (await stage.state()).queued_bytes == 0
        assert "agent.interrupt" in sent_types(stage)
        assert len(stage.remote.audio) < len(ONE_SECOND) * 10
        assert stage.remote.playback.until <= trio.current_time()


# -- A6.3: a failing service


@on_trio
async def test_a_failing_service_gives_the_caller_the_error_and_crashes_nothing() -> None:  # A6.3
    async with open_stage() as stage:
        stage.sessions.fail_next(1, status=503, message="HeyGen API unavailable")
        with pytest.raises(AvatarServiceError, match="HeyGen API unavailable") as caught:
            await stage.initialize()

        assert caught.value.retryable
        (error,) = stage.of(SessionError)
        assert "HeyGen API unavailable" in error.error
        assert (error.avatar_id, error.recoverable, error.fallback_mode) == (AVATAR, True, "voice_only")
        assert [started.path for started in stage.of(ActorStarted)].count("tree/avatar") == 1
        assert (await stage.initialize()).status == "active"


@pytest.mark.parametrize(
    "status, code, retryable",
    [
        (422, 4000, False),
        (403, 4003, False),
        (403, 4032, True),
        (401, 4001, False),
        (500, 5000, True),
        (429, 1, True),
    ],
)
@on_trio
async def test_the_code_decides_whether_asking_again_helps(status: int, code: int, retryable: bool) -> None:
    async with open_stage() as stage:
        stage.sessions.fail_next(1, status=status, code=code)
        with pytest.raises(AvatarServiceError) as caught:
            await stage.initialize()
        assert (caught.value.status, caught.value.code) == (status, code)
        assert caught.value.retryable is retryable
        assert stage.of(SessionError)[0].recoverable is retryable


@on_trio
async def test_a_service_that_does_not_answer_is_given_up_after_its_time_limit() -> None:
    async with open_stage() as stage:
        stage.hanging.add("token")
        began = trio.current_time()
        with pytest.raises(AvatarServiceError, match="nothing within 5 s"):
            await stage.initialize()
        assert trio.current_time() - began == pytest.approx(5.0)


@on_trio
async def test_an_avatar_that_never_connects_is_ended() -> None:
    async with open_stage({"connect_delay": 100.0}) as stage:
        with pytest.raises(AvatarSessionLost, match="did not report `connected` in time"):
            await stage.initialize()
        await settled()
        assert stage.sessions.active == []
        assert stage.sessions.ended[0].end_reason == "SERVER_ERROR"


@on_trio
async def test_a_websocket_that_cannot_be_reached_ends_the_session_that_was_started() -> None:
    async with open_stage() as stage:
        stage.network.listeners.clear()
        with pytest.raises(AvatarSessionLost, match="Connection refused"):
            await stage.initialize()
        await settled()
        assert stage.sessions.active == []


@on_trio
async def test_a_broken_websocket_is_the_end_of_the_session_and_says_what_was_not_sent() -> None:  # A6.3
    async with open_stage() as stage:
        await stage.initialize()
        await speak(stage, ONE_SECOND * 10)
        await stage.network.reset()
        await settled()

        (error,) = stage.of(SessionError)
        assert error.recoverable
        assert "bytes of speech were not sent" in error.error
        assert stage.sessions.active == []
        with pytest.raises(NoAvatarSession):
            await speak(stage)
        assert (await stage.initialize()).status == "active"


@on_trio
async def test_a_session_that_the_service_ends_is_reported_with_its_reason() -> None:
    async with open_stage(is_sandbox=True) as stage:
        await stage.initialize(avatar_id=SANDBOX_AVATAR)
        await trio.sleep(61)
        (error,) = stage.of(SessionError)
        assert "MAX_DURATION_REACHED" in error.error
        assert (await stage.state()).phase == "closed"


@on_trio
async def test_keep_alives_outlast_the_service_idle_window() -> None:
    async with open_stage() as stage:
        await stage.initialize()
        await trio.sleep(3_001)
        assert (await stage.state()).status == "active"
        assert sent_types(stage).count("session.keep_alive") == 25
        assert stage.operations.count("keep-alive") == 25


@on_trio
async def test_a_keep_alive_that_finds_the_session_gone_ends_it_here() -> None:
    async with open_stage() as stage:
        await stage.initialize()
        stage.sessions.fail_next(
            1, status=404, code=4040, message="Session is not active", operation="keep-alive"
        )
        await trio.sleep(121)
        assert "Session is not active" in stage.of(SessionError)[0].error


@on_trio
async def test_a_keep_alive_that_fails_for_a_moment_ends_nothing() -> None:
    async with open_stage() as stage:
        await stage.initialize()
        stage.sessions.fail_next(1, status=503, operation="keep-alive")
        stage.sessions.fail_next(1, status=401, operation="keep-alive")
        await trio.sleep(300)
        assert (await stage.state()).status == "active"


@on_trio
async def test_a_half_open_websocket_is_found_by_the_ping_after_a_keep_alive() -> None:
    async with open_stage() as stage:
        await stage.initialize()
        (stream,) = stage.network.streams
        stream.send_stream = trio.testing.MemorySendStream()  # what we write reaches nobody any more
        await trio.sleep(126)
        assert "did not answer in time" in stage.of(SessionError)[0].error
        assert stage.sessions.active == []


# -- A6.4: clean-up, and no session is ever leaked


@on_trio
async def test_cleanup_closes_the_remote_session_and_says_so() -> None:  # A6.4
    async with open_stage() as stage:
        session = await stage.initialize()
        await stage.avatar.ask(Cleanup())

        assert stage.sessions.active == []
        assert stage.sessions.ended[0].end_reason == "USER_CLOSED"
        assert stage.of(SessionCleanup) == [SessionCleanup(session.session_id, "manual_cleanup")]
        assert stage.ledger.recorded() == ()
        assert (await stage.state()).phase == "closed"


@on_trio
async def test_cleanup_of_nothing_is_nothing() -> None:
    async with open_stage() as stage:
        await stage.avatar.ask(Cleanup())
        assert stage.of(SessionCleanup) == []
        assert stage.fetched == []


@on_trio
async def test_a_cleanup_during_the_opening_refuses_those_who_wait_for_it() -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        stage.hanging.add("start")

        async def refused() -> None:
            with pytest.raises(AvatarSessionLost, match="it was cleaned up"):
                await stage.initialize()

        nursery.start_soon(refused)
        await trio.sleep(1)
        await stage.avatar.ask(Cleanup())
        assert stage.ledger.recorded() == ()


@on_trio
async def test_a_session_is_recorded_before_it_is_started() -> None:  # A6.4
    async with open_stage() as stage:
        session = await stage.initialize()
        recorded = {fetched.operation: fetched.recorded for fetched in stage.fetched}
        assert recorded == {"token": (), "start": (session.session_id,)}


@on_trio
async def test_a_cleanup_that_fails_tells_the_caller_and_is_pursued_until_it_succeeds() -> None:  # A6.4
    async with open_stage() as stage:
        session = await stage.initialize()
        stage.sessions.fail_next(3, operation="stop")
        with pytest.raises(AvatarServiceError, match="sessions/stop"):
            await stage.avatar.ask(Cleanup())
        assert stage.of(SessionCleanup) == []
        assert (await stage.state()).unreleased == 1

        await wait_until_gone(stage)
        assert stage.of(SessionCleanup) == [SessionCleanup(session.session_id, "manual_cleanup")]
        assert len(stage.of(SessionError)) == 1


@on_trio
async def test_a_crash_in_mid_speech_leaves_no_remote_session_active() -> None:  # A6.4
    async with open_stage() as stage:
        session = await stage.initialize()
        await speak(stage, ONE_SECOND * 10)
        stage.avatar.tell(InjectedFault(RuntimeError("a bug")))
        await settled()

        assert stage.sessions.active == []
        assert stage.of(SessionCleanup) == [SessionCleanup(session.session_id, "actor_stopped")]
        assert stage.ledger.recorded() == ()
        assert [
            started.incarnation for started in stage.of(ActorStarted) if started.path == "tree/avatar"
        ] == [1, 2]
        assert (await stage.initialize()).session_id != session.session_id


@on_trio
async def test_what_a_crash_could_not_close_the_next_incarnation_closes() -> None:  # A6.4
    async with open_stage() as stage:
        session = await stage.initialize()
        stage.sessions.fail_next(2, operation="stop")
        stage.avatar.tell(InjectedFault(RuntimeError("a bug")))
        await settled()
        assert [remote.id for remote in stage.sessions.active] == [session.session_id]

        await wait_until_gone(stage)
        assert stage.of(SessionCleanup) == [SessionCleanup(session.session_id, "found_at_start")]
        assert stage.sessions.ended[0].end_reason == "ZOMBIE_SESSION_REAP"


@on_trio
async def test_a_killed_actor_is_cleaned_up_after_by_its_successor() -> None:  # A6.4
    async with open_stage() as stage:
        await stage.initialize()
        cell = stage.avatar.slot.cell
        assert cell is not None
        cell.kill()
        await wait_until_gone(stage)


@pytest.mark.parametrize("what", ["tree/avatar", "tree"], ids=["actor", "full"])
@on_trio
async def test_an_orderly_restart_of_the_actor_or_of_everything_closes_the_remote_session(what: str) -> None:
    stage = stage_for()  # A6.4
    async with playing(stage, FullRestart()):
        await stage.initialize()
        await restart_path(stage.system, what, timeout=60)
        assert stage.sessions.active == []
        assert stage.sessions.ended[0].end_reason == "USER_DISCONNECTED"
        assert (await stage.initialize()).status == "active"


@on_trio
async def test_stopping_the_system_closes_the_remote_session() -> None:  # A6.4
    async with open_stage() as stage:
        await stage.initialize()
    assert stage.sessions.active == []
    assert stage.ledger.recorded() == ()


@on_trio
async def test_a_stop_waits_two_seconds_for_a_hanging_service_and_no_longer() -> None:  # A6.4
    stage = stage_for()
    async with playing(stage):
        await stage.initialize()
        stage.hanging.add("stop")
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(2.0)
    assert len(stage.ledger.recorded()) == 1


@on_trio
async def test_closing_the_remote_session_is_not_cut_short_by_a_kill() -> None:  # A6.4
    async with open_stage() as stage:
        await stage.initialize()
        stage.delays["stop"] = 0.5
        cell = stage.avatar.slot.cell
        assert cell is not None
        await cell.stop(0.1, final=True)
        assert stage.sessions.active == []
        assert stage.operations.count("stop") == 1


@on_trio
async def test_the_next_process_ends_what_the_last_one_left_and_nothing_else() -> None:  # A6.4
    stage = stage_for()
    foreign = stage.sessions.reserve(AVATAR, is_sandbox=False, max_duration=None)
    stage.sessions.start(foreign)
    async with playing(stage):
        await stage.initialize()
        stage.hanging.add("stop")
    stage.hanging.clear()
    async with playing(stage):
        await settled()
        assert stage.sessions.active == [foreign]
        assert stage.ledger.recorded() == ()


@on_trio
async def test_a_recorded_session_that_the_service_no_longer_knows_is_forgotten() -> None:
    stage = stage_for()
    async with playing(stage):
        await stage.initialize()
        stage.sessions.fail_next(1, status=404, code=4040, operation="stop")
        stage.sessions.end(stage.remote, "NO_CREDITS")
        await settled()
        assert "sessions" in stage.operations  # the list decided
        assert stage.ledger.recorded() == ()


@on_trio
async def test_a_session_that_refuses_to_stop_and_is_listed_as_active_is_tried_again() -> None:
    async with open_stage() as stage:
        await stage.initialize()
        stage.sessions.fail_next(2, status=409, code=4090, operation="stop")
        with pytest.raises(AvatarServiceError, match="4090"):
            await stage.avatar.ask(Cleanup())
        await wait_until_gone(stage)


@on_trio
async def test_a_list_that_fails_leaves_the_session_recorded() -> None:
    async with open_stage() as stage:
        await stage.initialize()
        stage.sessions.fail_next(1, status=409, code=4090, operation="stop")
        stage.sessions.fail_next(1, status=503, operation="list")
        with pytest.raises(AvatarServiceError, match="503"):
            await stage.avatar.ask(Cleanup())
        assert len(stage.ledger.recorded()) == 1
        await wait_until_gone(stage)


@on_trio
async def test_a_new_session_waits_for_the_end_of_the_old_one() -> None:
    stage = stage_for({"concurrency_limit": 1})
    async with playing(stage):
        await stage.initialize()
        stage.hanging.add("stop")
    stage.hanging.clear()
    async with playing(stage):
        # Without the wait this would meet the service's limit of one.
        assert (await stage.initialize()).status == "active"


@on_trio
async def test_too_many_sessions_that_cannot_be_ended_stop_new_ones() -> None:
    async with open_stage(unreleased_max=1) as stage:
        await stage.initialize()
        stage.sessions.fail_next(1, operation="stop")
        with pytest.raises(AvatarServiceError):
            await stage.avatar.ask(Cleanup())
        with pytest.raises(TooManyUnreleased, match="check the API key"):
            await stage.initialize()


@on_trio
async def test_the_api_key_is_in_no_event_and_no_error() -> None:  # A5.7
    async with open_stage() as stage:
        stage.sessions.fail_next(1, status=403, code=4003, message=f"the key {API_KEY} is not valid")
        with pytest.raises(AvatarServiceError, match=r"the key \[REDACTED\] is not valid") as caught:
            await stage.initialize()
        await stage.initialize()
        assert API_KEY not in repr(stage.events) + repr(caught.value) + repr(stage.settings)

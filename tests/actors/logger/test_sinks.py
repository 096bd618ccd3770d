"""Files and streams: what is written where, and what a failing disk does."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from holdfast.actors.logger.messages import Level, SinkFailed
from holdfast.actors.logger.settings import LoggerSettings
from holdfast.actors.logger.sinks import FileSink, Log, StreamSink


class Calendar:
    def now(self) -> float:
        return 1_795_218_098.0


def open_log(
    file: Path, stream: io.StringIO | None = None, *, level: Level = Level.DEBUG, stderr: bool = False
) -> Log:
    settings = LoggerSettings(level=level, file=file, stderr=stderr)
    return Log(settings, wall_clock=Calendar(), stderr=stream or io.StringIO())


def messages(path: Path) -> list[str]:
    return [json.loads(line)["message"] for line in path.read_text().splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "holdfast.log"


@pytest.fixture
def sink(file: Path) -> Iterator[FileSink]:
    made = FileSink(file, rotation_bytes=1_000, retention_files=2)
    yield made
    made.close()


def test_the_file_is_readable_by_its_owner_alone(sink: FileSink, file: Path) -> None:
    sink.write("one\n")

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_was_readable_by_others_is_closed_to_them(sink: FileSink, file: Path) -> None:
    file.parent.mkdir()
    file.write_text("old\n")
    file.chmod(0o644)

    sink.write("one\n")

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == "old\none\n"


def test_files_are_rotated_at_their_bound_and_only_so_many_are_kept(sink: FileSink, file: Path) -> None:
    for number in range(20):
        sink.write(f"{number:03d} " + "x" * 395 + "\n")

    logs = sorted(file.parent.iterdir())
    assert len(logs) == 3
    assert all(log.stat().st_size <= 1_000 for log in logs)
    assert all(stat.S_IMODE(log.stat().st_mode) == 0o600 for log in logs)
    assert file.read_text().splitlines()[-1].startswith("019")


def test_braces_in_lines_and_in_the_path_are_only_braces(tmp_path: Path) -> None:
    path = tmp_path / "{time} {x}.log"
    sink = FileSink(path, rotation_bytes=1_000, retention_files=2)

    sink.write("{not} a <red>format</red>\n")
    sink.close()

    assert path.read_text() == "{not} a <red>format</red>\n"


def test_a_file_that_was_moved_away_is_begun_anew(sink: FileSink, file: Path) -> None:
    sink.write("one\n")
    file.rename(file.with_suffix(".moved"))

    sink.write("two\n")

    assert file.read_text() == "two\n"


def test_a_line_torn_by_a_kill_does_not_swallow_the_next(sink: FileSink, file: Path) -> None:
    file.parent.mkdir()
    file.write_text('{"level":"IN')

    sink.write("one\n")

    assert file.read_text() == '{"level":"IN\none\n'


class FullDisk:
    """Lets so many bytes through to a file, then there is no space left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._resource = pytest.importorskip("resource")
        self._signal = pytest.importorskip("signal")
        self._before = self._resource.getrlimit(self._resource.RLIMIT_FSIZE)
        self._handler = self._signal.signal(self._signal.SIGXFSZ, self._signal.SIG_IGN)

    def fill(self, limit: int) -> None:
        self._resource.setrlimit(self._resource.RLIMIT_FSIZE, (limit, self._before[1]))

    def empty(self) -> None:
        self._resource.setrlimit(self._resource.RLIMIT_FSIZE, self._before)

    def restore(self) -> None:
        self.empty()
        self._signal.signal(self._signal.SIGXFSZ, self._handler)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    made = FullDisk(monkeypatch)
    yield made
    made.restore()


def test_a_batch_that_does_not_fit_leaves_nothing_behind_and_is_written_whole_later(
    file: Path, disk: FullDisk
) -> None:
    sink = FileSink(file, rotation_bytes=10**9, retention_files=2)
    batch = "".join(f"line {number}\n" for number in range(5_000))
    sink.write("before\n")

    disk.fill(20_000)
    with pytest.raises(OSError, match="too large"):
        sink.write(batch)
    with pytest.raises(OSError, match="too large"):
        sink.write(batch)
    assert file.read_text() == "before\n"
    disk.empty()
    sink.write(batch)
    sink.close()

    assert file.read_text() == "before\n" + batch


def test_a_batch_that_fails_in_a_just_rotated_file_leaves_nothing_behind(file: Path, disk: FullDisk) -> None:
    sink = FileSink(file, rotation_bytes=1_000, retention_files=2)
    sink.write("x" * 900 + "\n")

    disk.fill(5_000)
    with pytest.raises(OSError, match="too large"):
        sink.write("y" * 30_000 + "\n")
    assert file.read_text() == ""
    disk.empty()
    sink.write("z\n")
    sink.close()

    assert file.read_text() == "z\n"


def test_no_descriptor_stays_open_after_failures(file: Path, disk: FullDisk) -> None:
    sink = FileSink(file, rotation_bytes=10**9, retention_files=2)
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    disk.fill(5_000)
    for _ in range(5):
        with pytest.raises(OSError, match="too large"):
            sink.write("y" * 30_000)
    sink.close()

    after = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    assert after == before


def test_loguru_of_an_embedder_is_neither_used_nor_fed(
    sink: FileSink, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from loguru import logger

    theirs: list[str] = []
    handler = logger.add(theirs.append, format="{message}")
    sink.write("ours\n")
    logger.info("theirs")
    logger.remove(handler)

    assert theirs == ["theirs\n"]
    assert file.read_text() == "ours\n"
    assert "ours" not in capsys.readouterr().err


def test_a_closed_stream_is_counted_and_never_raised() -> None:
    stream = io.StringIO()
    sink = StreamSink(stream)
    sink.write("one\n")
    assert stream.getvalue() == "one\n"

    stream.close()
    sink.write("two\n")
    sink.close()

    assert sink.refused == 1


# SEMANTICS "What survives what": accepted records are written before the process ends.
def test_closing_writes_everything_and_the_mark_of_a_clean_end_last(file: Path) -> None:
    log = open_log(file)
    for number in range(1_000):
        log.front.info(f"n{number}")

    assert log.close()

    assert messages(file) == [f"n{number}" for number in range(1_000)] + ["clean end"]


def test_the_mark_is_written_whatever_the_level(file: Path) -> None:
    log = open_log(file, level=Level.ERROR)

    log.close()

    assert messages(file) == ["clean end"]


def test_what_is_logged_after_the_close_is_counted(file: Path) -> None:
    log = open_log(file)
    log.close()

    log.front.error("too late")

    assert log.backlog.dropped == 1
    assert messages(file) == ["clean end"]


# SEMANTICS "What survives what": a missing clean-end mark is reported at the next start.
def test_a_run_that_did_not_end_cleanly_is_reported_by_the_next_whatever_the_level(file: Path) -> None:
    killed = open_log(file)
    killed.front.info("last words")
    killed.flush()
    killed._close_sinks(clean=False)

    log = open_log(file, level=Level.ERROR)
    log.close()

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["message"] for line in lines] == [
        "last words",
        "previous run ended without a clean end",
        "clean end",
    ]
    assert lines[1]["level"] == "WARN"


def test_a_clean_run_is_not_reported(file: Path) -> None:
    open_log(file).close()
    log = open_log(file)
    log.front.info("hello")
    log.close()

    assert messages(file) == ["clean end", "hello", "clean end"]


def test_the_mark_is_found_behind_a_long_file(file: Path) -> None:
    sink = FileSink(file, rotation_bytes=10**6, retention_files=1)
    first = open_log(file)
    first.front.info("x" * 8_000)
    first.close()

    assert sink.ended_cleanly()
    with file.open("a") as more:
        more.write("y" * 10_000)
    assert not sink.ended_cleanly()


def test_a_failing_file_keeps_the_batch_says_so_once_and_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    stderr = io.StringIO()
    blocked = tmp_path / "not a folder"
    blocked.write_text("")
    log = open_log(blocked / "holdfast.log", stderr)
    log.front.info("kept")
    log.fill()

    for _ in range(3):
        with pytest.raises(SinkFailed, match="cannot be written"):
            log.write_pending()
    assert log.failures == 3
    assert stderr.getvalue().count("\n") == 1
    assert "65536 records are kept" in stderr.getvalue()

    blocked.unlink()
    log.write_pending()
    log.close()

    assert messages(blocked / "holdfast.log") == ["kept", "clean end"]
    assert log.written == 1


def test_an_end_without_a_working_disk_says_what_is_lost_and_does_not_raise(tmp_path: Path) -> None:
    stderr = io.StringIO()
    blocked = tmp_path / "not a folder"
    blocked.write_text("")
    log = open_log(blocked / "holdfast.log", stderr)
    log.front.info("lost")

    assert not log.close()

    assert "1 log records are not written" in stderr.getvalue()


def test_stderr_gets_a_batch_once_however_often_the_file_is_tried(tmp_path: Path) -> None:
    stderr = io.StringIO()
    blocked = tmp_path / "not a folder"
    blocked.write_text("")
    log = open_log(blocked / "holdfast.log", stderr, stderr=True)
    log.front.info("once")
    log.fill()
    for _ in range(3):
        with pytest.raises(SinkFailed):
            log.write_pending()
    blocked.unlink()
    log.close()

    assert stderr.getvalue().count('"once"') == 1


def test_changed_settings_take_effect_and_the_old_file_is_ended(tmp_path: Path) -> None:
    log = open_log(tmp_path / "a.log")
    log.front.info("in a")
    log.flush()

    log.apply(attrs.evolve(log.settings, file=tmp_path / "b.log", buffer_records=5))
    log.front.info("in b")
    log.flush()
    log.apply(attrs.evolve(log.settings, rotation_bytes=50_000))
    log.front.info("in b, too")
    log.close()

    assert messages(tmp_path / "a.log") == ["in a", "clean end"]
    assert messages(tmp_path / "b.log") == ["in b", "in b, too", "clean end"]


# A5.2; SEMANTICS "Supervision beyond OTP" 11: a restart never brings an old value back.
def test_a_level_set_at_run_time_stays_until_the_configured_one_changes(file: Path) -> None:
    log = open_log(file, level=Level.WARN)
    log.front.set_level(Level.DEBUG)

    log.apply(log.settings)
    kept = log.front.level
    log.apply(attrs.evolve(log.settings, level=Level.ERROR))

    assert (kept, log.front.level) == (Level.DEBUG, Level.ERROR)


def test_a_write_that_hangs_does_not_hang_the_end_of_the_process(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.actors.logger.sinks.HANGING_WRITE_S", 0.01)
    stderr = io.StringIO()
    log = open_log(file, stderr)
    log.front.info("lost")

    with log._lock:
        assert not log.close()

    assert "1 log records are lost: a write to the log hangs" in stderr.getvalue()


def test_without_a_file_lines_go_to_stderr_and_no_mark_does(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    log = Log(LoggerSettings(level=Level.INFO), wall_clock=Calendar())
    log.front.info("hello")

    assert log.close()

    assert [json.loads(line)["message"] for line in stderr.getvalue().splitlines()] == ["hello"]


def test_a_device_can_be_the_log() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    stderr = io.StringIO()
    log = open_log(Path("/dev/full"), stderr)
    log.front.info("x")

    assert not log.close()

    assert "No space left" in stderr.getvalue()

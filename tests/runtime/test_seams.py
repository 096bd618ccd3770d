"""The real seams: stores that are their owner's alone, and TLS that is always verified."""

from __future__ import annotations

import os
import ssl
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import apsw
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from holdfast.runtime import Address, Seams, StoreUnreadable
from holdfast.runtime.seams import open_store

# ---- stores ------------------------------------------------------------------------------------------


def test_a_store_and_its_folder_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "client.db"
    before = os.umask(0)
    try:
        connection = open_store(path)
        connection.execute("create table t (x)")
    finally:
        os.umask(before)

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    connection.close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "client.db-wal" in modes, "the control: there is a second file, with the same content"
    assert set(modes.values()) == {0o600}


def test_a_store_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "client.db"
    path.touch(0o644)
    path.chmod(0o644)
    open_store(path).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_committed_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    first = open_store(tmp_path / "client.db")
    first.execute("create table t (x)")
    first.execute("insert into t values (1)")
    # No close: the process was killed.
    assert open_store(tmp_path / "client.db").execute("select x from t").fetchall() == [(1,)]


def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are no tables, " * 100)
    with pytest.raises(StoreUnreadable, match="left untouched"):
        open_store(path)

    assert path.read_text() == "these are no tables, " * 100


def test_without_a_path_nothing_is_written_down() -> None:
    assert isinstance(open_store(None), apsw.Connection)
    assert open_store(None).filename == ""


# ---- TLS ---------------------------------------------------------------------------------------------


def serving(folder: Path) -> ssl.SSLContext:
    """Return the context of a server whose certificate nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


def test_a_server_that_nobody_vouches_for_is_never_spoken_to(tmp_path: Path) -> None:
    # A3.1: this is the way of every wss:// connection
    heard: list[bytes] = []

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            heard.append(bytes(await stream.receive_some()))
        except (trio.BrokenResourceError, ssl.SSLError):
            return
        finally:
            await trio.aclose_forcefully(stream)

    async def main() -> None:
        # Real sockets, in real time: this takes milliseconds.
        with trio.fail_after(20):
            (plain,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = int(plain.socket.getsockname()[1])
            async with trio.open_nursery() as nursery:
                listener = trio.SSLListener(plain, serving(tmp_path))
                nursery.start_soon(trio.serve_listeners, serve, [listener])
                with pytest.raises((ssl.SSLError, trio.BrokenResourceError)) as caught:
                    await Seams().connect(Address("127.0.0.1", port, tls=True), timeout=10.0)
                nursery.cancel_scope.cancel()
        reason: BaseException | None = caught.value
        while reason is not None and not isinstance(reason, ssl.SSLCertVerificationError):
            reason = reason.__cause__
        assert reason is not None, f"refused for another reason: {caught.value!r}"

    trio.run(main)
    assert heard == []


def test_the_context_of_the_process_verifies_names_and_refuses_old_tls() -> None:
    context = Seams().tls()

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2

"""Folder on an SFTP server, with a pinned host key."""

import asyncio
import errno
import stat
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import asyncssh

from pipeline.config import model
from pipeline.ingest.journal import Stamp
from pipeline.ingest.places import DeniedError, PlaceError
from pipeline.ingest.secret_values import secret_value
from pipeline.row_files.row import UnreadableError

T = TypeVar("T")

_CONNECT_S: Final = 20.0
_SILENCE_S: Final = 15.0
_MAX_SILENCES: Final = 3
_CALL_S: Final = 60.0
_CHUNK_BYTES: Final = 256 * 1024
_DENIAL_ERRORS: Final = (
    asyncssh.SFTPPermissionDenied,
    asyncssh.SFTPOpUnsupported,
    asyncssh.SFTPWriteProtect,
)
_PEM: Final = "-----BEGIN"
_FAULTS: Final = (asyncssh.Error, OSError, TimeoutError, EOFError)


def server_label(server: model.SftpServer) -> str:
    """Return the server's folder, for reports."""
    port = "" if server.port == 22 else f":{server.port}"
    path = server.path.strip("/")
    return f"sftp://{server.host}{port}" + (f"/{path}" if path not in ("", ".") else "")


@contextmanager
def open_server(
    server: model.SftpServer, environment: Mapping[str, str]
) -> Iterator["ServerFolder"]:
    """Open the server's folder for the duration of a connection. Raises PlaceError."""
    label = server_label(server)
    with asyncio.Runner() as runner:
        call = _CoroutineRunner(runner, label)
        connection = call(_connect(server, environment))
        try:
            client = call(_start_sftp(connection))
            yield ServerFolder(label, server.path.rstrip("/") or "/", client, call)
        finally:
            with suppress(PlaceError):
                connection.abort()
                call(connection.wait_closed())


class _CoroutineRunner:
    """Runner of coroutines, which raises PlaceError for their failures."""

    def __init__(self, runner: asyncio.Runner, label: str) -> None:
        self._runner = runner
        self._label = label

    def __call__(self, coroutine: Coroutine[Any, Any, T], limit_s: float | None = _CALL_S) -> T:
        try:
            return self._runner.run(_await_within(coroutine, limit_s))
        except _FAULTS as error:
            raise self._place_error(error) from error

    def _place_error(self, error: BaseException) -> PlaceError:
        message = f"{self._label}: {_describe(error)}"
        return DeniedError(message) if isinstance(error, _DENIAL_ERRORS) else PlaceError(message)


async def _await_within(coroutine: Coroutine[Any, Any, T], limit_s: float | None) -> T:
    async with asyncio.timeout(limit_s):
        return await coroutine


def _describe(error: BaseException) -> str:
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return "its host key is not the pinned one: the connection was refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


async def _connect(
    server: model.SftpServer, environment: Mapping[str, str]
) -> asyncssh.SSHClientConnection:
    """Connect by the configuration alone, without the user's agent, keys or settings."""
    host_key = asyncssh.import_public_key(server.host_key)
    key = secret_value(server.private_key, environment)
    passphrase = secret_value(server.passphrase, environment)
    return await asyncssh.connect(
        server.host,
        server.port,
        username=server.user,
        known_hosts=([host_key], [], []),
        client_keys=[_private_key(key, passphrase)] if key else None,
        password=secret_value(server.password, environment),
        config=None,
        agent_path=None,
        connect_timeout=_CONNECT_S,
        login_timeout=_CONNECT_S,
        keepalive_interval=_SILENCE_S,
        keepalive_count_max=_MAX_SILENCES,
    )


async def _start_sftp(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
    return await connection.start_sftp_client()


def _private_key(text: str, passphrase: str | None) -> asyncssh.SSHKey:
    """Return the private key from its text or from a file."""
    if text.lstrip().startswith(_PEM):
        return asyncssh.import_private_key(text, passphrase)
    return asyncssh.read_private_key(text, passphrase)


class ServerFolder:
    """Folder of a server, as a `places.WatchedPlace`."""

    def __init__(
        self, label: str, path: str, client: asyncssh.SFTPClient, call: _CoroutineRunner
    ) -> None:
        self.label = label
        self._path = path
        self._client = client
        self._call = call

    def files(self) -> list[Stamp]:
        return self._call(self._files())

    async def _files(self) -> list[Stamp]:
        stamps = []
        async for entry in self._client.scandir(self._path):
            name, attrs = str(entry.filename), entry.attrs
            if attrs.permissions is not None and stat.S_ISREG(attrs.permissions):
                stamps.append(Stamp(name, attrs.size or 0, int(attrs.mtime or 0)))
        return stamps

    def unchanged_time_s(self, _: Stamp) -> float:
        """Return 0, since a server reports only the time that senders set."""
        return 0.0

    def fetch(self, stamp: Stamp, target: IO[bytes], max_bytes: int) -> None:
        self._call(self._fetch(stamp, target, max_bytes), None)

    async def _fetch(self, stamp: Stamp, target: IO[bytes], max_bytes: int) -> None:
        """Download the file; keep-alives detect a dead connection."""
        size = await self._copy(self._path_of(stamp.name), target, max_bytes)
        status = await self._client.stat(self._path_of(stamp.name))
        if (size, status.size, int(status.mtime or 0)) != (stamp.size, stamp.size, stamp.mtime):
            raise OSError(errno.EAGAIN, f"{stamp.name} changes while it is read")

    async def _copy(self, path: str, target: IO[bytes], max_bytes: int) -> int:
        """Copy a file; return its size."""
        size = 0
        async with self._client.open(path, "rb") as file:
            while chunk := await file.read(_CHUNK_BYTES):
                assert isinstance(chunk, bytes)  # the file is open in binary mode
                size += len(chunk)
                if size > max_bytes:
                    raise UnreadableError(f"it is larger than {max_bytes:,} bytes")
                target.write(chunk)
        return size

    def read(self, folder: str, name: str, target: IO[bytes], max_bytes: int) -> None:
        self._call(self._copy(self._path_of(folder, name), target, max_bytes), None)

    def move(self, name: str, folder: str, new_name: str) -> None:
        self._call(self._move(self._path_of(name), folder, new_name))

    async def _move(self, path: str, folder: str, new_name: str) -> None:
        """Move a file, replacing an existing one, even if the server's rename refuses to
        replace."""
        await self._make_folder(folder)
        target = self._path_of(folder, new_name)
        try:
            await self._client.posix_rename(path, target)
        except asyncssh.SFTPOpUnsupported:
            with suppress(asyncssh.SFTPNoSuchFile):
                await self._client.remove(target)
            await self._client.rename(path, target)

    def write(self, folder: str, name: str, content: Path) -> None:
        self._call(self._write(folder, name, content), None)

    async def _write(self, folder: str, name: str, content: Path) -> None:
        await self._make_folder(folder)
        draft = self._path_of(folder, f".{name}.part")
        with content.open("rb") as source:
            async with self._client.open(draft, "wb") as target:
                while chunk := source.read(_CHUNK_BYTES):
                    await target.write(chunk)
        await self._move(draft, folder, name)

    def exists(self, folder: str, name: str) -> bool:
        return self._call(self._client.exists(self._path_of(folder, name)))

    async def _make_folder(self, folder: str) -> None:
        """Make a folder if it is missing; servers report an existing one as an unspecific
        failure."""
        try:
            await self._client.mkdir(self._path_of(folder))
        except asyncssh.SFTPError as error:
            is_folder = await self._client.isdir(self._path_of(folder))
            if isinstance(error, asyncssh.SFTPNoSuchFile) or not is_folder:
                raise

    def _path_of(self, *names: str) -> str:
        return "/".join((self._path.rstrip("/"), *names))

"""Files on OpenSSH's own server: taken once, also over cut connections, and only from a server with
the pinned key."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pipeline.adapters.config_files import load
from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.home.codec import open_codec, register
from pipeline.home.records import Records
from pipeline.home.topics import ensure_topics
from pipeline.ingest.opening import watchers
from pipeline.ingest.places import DeniedError, PlaceError
from pipeline.ingest.process import base_of, look_once
from pipeline.ingest.sftp import open_server, server_label
from pipeline.ingest.taking import FileReport
from pipeline.model import topics
from pipeline.model.interaction import Interaction
from pipeline.settings import Settings
from tests.support.cutting import cutting_proxy
from tests.support.ingest import write_configuration
from tests.support.sshd import SSHD, Server, running_sshd, unprivileged_sshd

pytestmark = pytest.mark.skipif(SSHD is None, reason="openssh-server is not installed")

_WATCH = """watches:
  - watch: night
    source: shop-files
    sftp:
      host: 127.0.0.1
      port: {port}
      user: {user}
      host_key: "{key}"
      private_key: "${{SFTP_KEY}}"
      path: {path}
    pattern: "*.csv"
    ready: {{by: rest, after: 200ms}}
    kind: identify
    columns: {{customer: identifiers.customer_id, plan: traits.plan}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_sshd(tmp_path_factory.mktemp("ssh") / "server") as server:
        yield server


def sftp_place(server: Server, path: Path) -> model.SftpServer:
    return model.SftpServer(
        host="127.0.0.1",
        user=server.user,
        host_key=server.host_key,
        path=str(path),
        port=server.port,
        private_key="${SFTP_KEY}",
    )


def secrets(server: Server) -> dict[str, str]:
    return {"SFTP_KEY": str(server.private_key)}


def make_configuration(folder: Path, server: Server, path: Path) -> Configuration:
    text = _WATCH.format(port=server.port, user=server.user, key=server.host_key, path=path)
    bundle = load(write_configuration(folder, text), {})
    assert isinstance(bundle, model.Bundle), bundle
    configuration = compile_bundle(bundle)
    assert isinstance(configuration, Configuration)
    return configuration


def look(settings: Settings, config: Configuration, server: Server) -> list[FileReport]:
    ensure_topics(settings, ())
    register(settings, ())
    base = base_of(settings, lambda *_: None)
    return list(look_once(watchers(config, base, secrets(server)), config))


def customers(settings: Settings, prefix: str) -> list[str]:
    records = Records(settings, open_codec(settings)).read_all(topics.INTERACTIONS, Interaction)
    names = (interaction.identifiers[0].value for _, interaction in records)
    return sorted(name for name in names if name.startswith(prefix))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nightly_file_is_taken_and_moved_to_done(
    settings: Settings, server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("customer,plan\nsftp-1,gold\n,tin\nsftp-2,tin\n")
    config = make_configuration(tmp_path / "config", server, folder)
    [report] = look(settings, config, server)
    assert (report.state, report.sent, report.rejected) == ("done", 2, 1)
    assert report.file == f"sftp://127.0.0.1:{server.port}/{str(folder).strip('/')}/a.csv"
    assert names(folder) == ["done"]
    assert names(folder / "done") == ["a.csv", "a.csv.rejected.csv"]
    assert customers(settings, "sftp-") == ["sftp-1", "sftp-2"]
    (folder / "a.csv").write_text("customer,plan\nsftp-1,gold\n,tin\nsftp-2,tin\n")
    [second_report] = look(settings, config, server)
    assert (second_report.state, second_report.sent) == ("done", 0)
    assert customers(settings, "sftp-") == ["sftp-1", "sftp-2"]


def test_wrong_host_key_is_refused_before_credentials_are_sent(
    server: Server, tmp_path: Path
) -> None:
    with running_sshd(tmp_path / "other") as other_server:
        mistaken_place = replace(sftp_place(other_server, tmp_path), host_key=server.host_key)
        with (
            pytest.raises(PlaceError, match="host key"),
            open_server(mistaken_place, secrets(other_server)),
        ):
            pass
        log = (tmp_path / "other" / "log").read_text()
    assert "Accepted" not in log


def test_secret_that_is_not_set_is_named(server: Server, tmp_path: Path) -> None:
    with (
        pytest.raises(PlaceError, match="SFTP_KEY"),
        open_server(sftp_place(server, tmp_path), {}),
    ):
        pass


def test_folder_that_is_not_there_is_named(server: Server, tmp_path: Path) -> None:
    place = sftp_place(server, tmp_path / "missing")
    with (
        open_server(place, secrets(server)) as folder,
        pytest.raises(PlaceError, match="No such"),
    ):
        folder.files()


def test_read_only_server_files_are_taken_once_and_stay(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("customer,plan\nstay-1,gold\n")
    (folder / "b.csv").write_text("customer,other\nstay-2,gold\n")
    with running_sshd(tmp_path / "server", "-R") as server:
        with (
            open_server(sftp_place(server, folder), secrets(server)) as place,
            pytest.raises(DeniedError),
        ):
            place.move("a.csv", "done", "a.csv")
        config = make_configuration(tmp_path / "config", server, folder)
        first_report, second_report = look(settings, config, server)
        assert (first_report.state, first_report.sent) == ("done", 1)
        assert "stays where it is" in str(first_report.reason)
        assert second_report.state == "failed"
        assert look(settings, config, server) == []
    assert names(folder) == ["a.csv", "b.csv"]
    assert customers(settings, "stay-") == ["stay-1"]


@pytest.fixture(scope="module")
def unprivileged_server() -> Iterator[tuple[Server, Path]]:
    with unprivileged_sshd() as server:
        yield server


def _take_without_rights(server: Server, folder: Path, home: Path) -> FileReport:
    """Return the report on a folder whose files cannot be taken."""
    config = make_configuration(home / "config", server, folder)
    base = base_of(Settings(home=home / "home"), lambda *_: None)
    [report] = look_once(watchers(config, base, secrets(server)), config)
    return report


def test_folder_without_rights_is_named(
    unprivileged_server: tuple[Server, Path], tmp_path: Path
) -> None:
    server, inbox = unprivileged_server
    folder = inbox / "closed"
    folder.mkdir(mode=0o000)
    report = _take_without_rights(server, folder, tmp_path)
    assert (report.state, report.sent) == ("failed", 0)
    assert report.file == server_label(sftp_place(server, folder))
    assert "ermission denied" in str(report.reason)


def test_file_without_rights_stays_and_is_named(
    unprivileged_server: tuple[Server, Path], tmp_path: Path
) -> None:
    server, inbox = unprivileged_server
    folder = inbox / "mixed"
    folder.mkdir(mode=0o755)
    (folder / "a.csv").write_text("customer,plan\nno-1,gold\n")
    (folder / "a.csv").chmod(0o000)
    report = _take_without_rights(server, folder, tmp_path)
    assert (report.state, report.sent) == ("failed", 0)
    assert report.file.endswith("/mixed/a.csv")
    assert "it stays where it is" in str(report.reason)
    assert "ermission denied" in str(report.reason)
    assert names(folder) == ["a.csv"]


def test_folder_in_which_nothing_may_be_written_is_denied(
    unprivileged_server: tuple[Server, Path],
) -> None:
    server, inbox = unprivileged_server
    folder = inbox / "read-only"
    folder.mkdir()
    (folder / "a.csv").write_text("customer,plan\nno-2,gold\n")
    (folder / "a.csv").chmod(0o444)
    folder.chmod(0o555)
    with open_server(sftp_place(server, folder), secrets(server)) as place:
        assert [file.name for file in place.files()] == ["a.csv"]
        with pytest.raises(DeniedError, match="ermission"):
            place.move("a.csv", "done", "a.csv")
        with pytest.raises(DeniedError, match="ermission"):
            place.write("failed", "a.csv.reason.txt", folder / "a.csv")
    folder.chmod(0o755)


@pytest.mark.long
def test_cut_connection_is_reported_and_the_file_is_taken_later(
    settings: Settings, server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = "".join(f"cut-{number},{'x' * 100}\n" for number in range(20_000))
    (folder / "a.csv").write_text("customer,plan\n" + rows)
    with cutting_proxy(server.port, lambda: 1_000_000) as port:
        cut_server = Server(port, server.user, server.host_key, server.private_key)
        config = make_configuration(tmp_path / "config", cut_server, folder)
        reports = look(settings, config, cut_server)
    assert {report.state for report in reports} == {"failed"}
    assert not customers(settings, "cut-")
    assert names(folder) == ["a.csv"]
    [report] = look(settings, make_configuration(tmp_path / "config", server, folder), server)
    assert (report.state, report.sent) == ("done", 20_000)
    assert len(set(customers(settings, "cut-"))) == 20_000

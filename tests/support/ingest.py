"""Configurations with watches of files."""

import shutil
from pathlib import Path

from tests.support.sshd import Server

_FILES = {
    "sources.yaml": "sources: [{name: shop-files, channel: file, write_key: write-key-1}]\n",
    "identity.yaml": "namespaces: [{name: customer_id}, {name: email}, {name: cookie}]\n",
    "channels.yaml": "channels: [{name: web}]\n",
}


def write_configuration(folder: Path, ingest: str) -> Path:
    """Write the smallest configuration that has these watches."""
    folder.mkdir(exist_ok=True)
    for name, text in {**_FILES, "ingest.yaml": ingest}.items():
        (folder / name).write_text(text)
    return folder


def copy_configuration_for_server(
    template: Path, folder: Path, server: Server, port: int, inbox: Path
) -> Path:
    """Copy a configuration whose watch reads `inbox` on the server, by way of `port`."""
    shutil.copytree(template, folder)
    text = (folder / "ingest.yaml").read_text()
    for name, value in (
        ("PORT", str(port)),
        ("USER", server.user),
        ("HOST_KEY", server.host_key),
        ("PATH", str(inbox)),
    ):
        text = text.replace(f": {name}\n", f": {value}\n")
    (folder / "ingest.yaml").write_text(text)
    return folder

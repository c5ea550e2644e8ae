"""Configurations with watches of files."""

from pathlib import Path

_FILES = {
    "sources.yaml": "sources: [{name: shop-files, channel: file, write_key: write-key-1}]\n",
    "identity.yaml": "namespaces: [{name: customer_id}, {name: email}, {name: cookie}]\n",
    "channels.yaml": "channels: [{name: web}]\n",
}


def written_configuration(folder: Path, ingest: str) -> Path:
    """Write the smallest configuration that has these watches."""
    folder.mkdir(exist_ok=True)
    for name, text in {**_FILES, "ingest.yaml": ingest}.items():
        (folder / name).write_text(text)
    return folder

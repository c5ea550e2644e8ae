"""Fuzzed configuration: it is accepted, or refused with places, in bounded time and memory."""

import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.config_files import ConfigError, load
from pipeline.adapters.yaml_text import Document, YamlFault, read_yaml
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.model import Bundle
from tests.support.cases import cases

DEMO = Path(__file__).parents[2] / "deploy" / "demo"
FILES = sorted(path.relative_to(DEMO).as_posix() for path in DEMO.rglob("*.yaml"))
PIECES = st.sampled_from(
    ["[", "]", "{", "}", ": ", "- ", "\n", "  ", "\t", "&a ", "*a", "!!int ", "!x ", "'", '"', "#",
     "|\n", ">\n", "---\n", "...\n", "? ", "<<: ", "${A}", "${A:-", "$${B}", "null", "~", "0x1F",
     "1e999", ".nan", "-0", "[]", "{}", "\x00", "\ufeff", "\u2028", "é", "name", "when", "any"]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=5), max_size=30).map("".join)


@given(TEXTS)
def test_any_text_is_a_document_or_is_refused_at_a_place_in_it(text: str) -> None:
    result = read_yaml(text, {"A": "1"})
    assert isinstance(result, Document | YamlFault)
    faults = (
        [result]
        if isinstance(result, YamlFault)
        else [refusal.fault for refusal in result.refusals]
    )
    for fault in faults:
        assert fault.message
        assert 1 <= fault.position[0] <= len(text.splitlines()) + 2


@settings(max_examples=cases(40), deadline=None)
@given(data=st.data())
def test_changed_folder_is_a_configuration_or_has_errors_with_places(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Path(shutil.copytree(DEMO, tmp_path_factory.mktemp("fuzz") / "config"))
    for _ in range(data.draw(st.integers(1, 4))):
        path = folder / data.draw(st.sampled_from(FILES))
        text = path.read_bytes().decode(errors="replace")
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 20))
        replacement = data.draw(TEXTS).encode(errors="surrogatepass")
        path.write_bytes(text[:start].encode() + replacement + text[end:].encode())
    result = load(folder, {"A": "1"})
    if isinstance(result, Bundle):
        configuration = compile_bundle(result)
        assert isinstance(configuration, Configuration)
        assert Configuration.from_json(configuration.to_json()).digest == configuration.digest
        return
    assert result
    assert result == sorted(
        set(result), key=lambda error: (error.file, error.line, error.column, error.message)
    )
    for error in result:
        assert isinstance(error, ConfigError)
        assert (folder / error.file).exists()
        assert error.message


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "caps: " + "[" * 300_000,
        "caps: " + "{a: " * 200_000,
        "a: " + "${A:-" * 150_000,
        "a: " + "$" * 900_000,
        "a: " + "x" * 900_000,
        "a: '" + "${A}" * 200_000 + "'",
        "- " * 300_000,
        "? " * 300_000,
        "a: !" + "x" * 900_000,
        "&a " * 300_000,
        "a: " + "9" * 900_000,
        '"' + "\\" * 900_000,
        "#" * 900_000,
        "a: |\n" + " \n" * 400_000,
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_hostile_file_is_read_in_bounded_time(text: str) -> None:
    begin_s = time.process_time()
    result = read_yaml(text, {"A": "1"})
    assert isinstance(result, Document | YamlFault)
    assert time.process_time() - begin_s < 30

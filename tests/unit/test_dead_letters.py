"""A dead letter contains the whole original, or a part of it with its original size."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.model import sizes, topics
from pipeline.model.dead_letter import MAX_BYTES, FailedInput, dead_letter
from pipeline.model.outcome import DeadLetter

_CODEC = Codec(recorded_versions())
_LENGTHS = st.sampled_from([0, 1, 100, 20_000, 70_000, sizes.INPUT, sizes.INPUT + 1, sizes.TOPIC])


def _failed_input(
    key_bytes: int, value_bytes: int, headers: Sequence[tuple[str, bytes]]
) -> FailedInput:
    key, value = b"k" * key_bytes, b"v" * value_bytes
    return FailedInput(topics.INTERACTIONS, 1, value, key, tuple(headers), 2, 77)


@given(_LENGTHS, _LENGTHS, st.lists(_LENGTHS, max_size=3), _LENGTHS)
def test_dead_letter_of_any_input_can_be_written_and_names_it(
    key_bytes: int, value_bytes: int, header_lengths: list[int], detail_length: int
) -> None:
    headers = [(f"h{number}", b"h" * length) for number, length in enumerate(header_lengths)]
    failure = _failed_input(key_bytes, value_bytes, headers)
    letter = dead_letter("identity", failure, DeadLetter("because", "d" * detail_length))
    data = _CODEC.encode(topics.DEAD_LETTERS, letter)
    assert data is not None
    assert len(letter.key or b"") + len(data) <= MAX_BYTES
    assert (letter.topic, letter.partition, letter.offset) == (topics.INTERACTIONS, 2, 77)
    assert letter.key is not None
    assert failure.key is not None
    assert failure.key.startswith(letter.key)
    assert letter.value == b"v" * min(value_bytes, sizes.INPUT)
    for field, is_whole in {
        "key": letter.key == failure.key,
        "value": letter.value == failure.value,
        "headers": letter.headers == dict(headers),
    }.items():
        assert is_whole is (f"; {field} cut: " not in letter.detail)


def test_cut_dead_letter_states_the_original_size() -> None:
    letter = dead_letter("identity", _failed_input(1, 3_000_000, ()), DeadLetter("because", "why"))
    assert letter.detail == f"why; value cut: {sizes.INPUT} of 3000000 bytes"


def test_header_without_a_value_becomes_empty() -> None:
    failure = _failed_input(1, 1, [("origin", None)])  # type: ignore[list-item]
    letter = dead_letter("identity", failure, DeadLetter("because", "why"))
    assert letter.headers == {"origin": b""}
    assert letter.detail == "why"

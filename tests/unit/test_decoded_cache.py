"""Records that one stage writes reach the next without decoding, within a limit of memory."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from agents import decoded_cache
from agents.decoded_cache import DecodedCache

_TOPIC = "t"


class _Text(Struct, frozen=True):
    text: str


class _Codec:
    """Codec that counts how often it decodes."""

    def __init__(self) -> None:
        self.decode_count = 0

    def encode(self, topic: str, value: _Text) -> bytes:
        return value.text.encode()

    def decode(self, topic: str, data: bytes) -> _Text:
        self.decode_count += 1
        return _Text(data.decode())


_WORDS = st.sampled_from(["a", "bb", "ccc"])


@given(st.lists(st.tuples(st.booleans(), _WORDS), max_size=40))
def test_each_record_is_handed_over_once_and_equals_the_written_one(
    operations: list[tuple[bool, str]],
) -> None:
    codec = _Codec()
    cache = DecodedCache(codec, [_TOPIC])  # type: ignore[arg-type]
    known_keys: set[str] = set()
    miss_count = 0
    for is_write, word in operations:
        if is_write:
            cache.encode(_TOPIC, _Text(word))
            known_keys.add(word)
        else:
            miss_count += word not in known_keys
            known_keys.discard(word)
            assert cache.decode(_TOPIC, word.encode()) == _Text(word)
        assert codec.decode_count == miss_count
        assert cache.cached_bytes == sum(map(len, known_keys))


def test_cached_bytes_are_bounded() -> None:
    codec = _Codec()
    cache = DecodedCache(codec, [_TOPIC])  # type: ignore[arg-type]
    payloads = [chr(ord("!") + number) * (1 << 20) for number in range(50)]
    for text in payloads:
        cache.encode(_TOPIC, _Text(text))
        assert cache.cached_bytes <= decoded_cache.MAX_BYTES
    for text in payloads:
        assert cache.decode(_TOPIC, text.encode()) == _Text(text)
    assert codec.decode_count == 50 - (decoded_cache.MAX_BYTES >> 20)
    assert cache.cached_bytes == 0


def test_topics_without_a_reader_in_this_process_are_not_cached() -> None:
    cache = DecodedCache(_Codec(), ["other"])  # type: ignore[arg-type]
    cache.encode(_TOPIC, _Text("a"))
    assert cache.cached_bytes == 0

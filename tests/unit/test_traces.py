"""W3C Trace Context: valid traces continue, and malformed headers begin a new trace."""

import pytest

from pipeline.adapters import traces

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_PARENT = "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (f"00-{_TRACE}-{_PARENT}-01", "01"),
        (f"00-{_TRACE}-{_PARENT}-00", "00"),
        (f"00-{_TRACE}-{_PARENT}-03", "03"),
        (f"00-{_TRACE}-{_PARENT}-fd", "01"),
        (f"01-{_TRACE}-{_PARENT}-01", "01"),
        (f"cc-{_TRACE}-{_PARENT}-00-what the future brings", "00"),
    ],
)
def test_trace_continues_with_its_flags_under_an_id_of_each_hop(header: str, flags: str) -> None:
    trace = traces.continue_trace(header)
    assert trace == traces.continue_trace(header.encode())
    hops = [trace.hop_header().decode().split("-") for _ in range(3)]
    assert {(version, trace, flag) for version, trace, _, flag in hops} == {("00", _TRACE, flags)}
    spans = {span for _, _, span, _ in hops}
    assert len(spans - {_PARENT}) == len(hops)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "garbage",
        f"00-{'0' * 32}-{_PARENT}-01",
        f"00-{_TRACE}-{'0' * 16}-01",
        f"00-{_TRACE.upper()}-{_PARENT}-01",
        f"00-{_TRACE}-{_PARENT}-01-more",
        f"00-{_TRACE}-{_PARENT}-01-",
        f"00-{_TRACE}-{_PARENT}-1",
        f"00-{_TRACE}-{_PARENT}",
        f"00-{_TRACE}-{_PARENT}-01\n",
        f"0-{_TRACE}-{_PARENT}-01",
        f"ff-{_TRACE}-{_PARENT}-01",
        f"01-{_TRACE}-{_PARENT}-01.more",
        f"00-{_TRACE[:-1]}é-{_PARENT}-01",
    ],
)
def test_malformed_header_begins_a_trace(header: str | None) -> None:
    trace = traces.continue_trace(header)
    assert trace.id.decode() != _TRACE
    assert trace != traces.continue_trace(header)
    version, trace_id, span, flags = trace.hop_header().decode().split("-")
    assert (version, len(trace_id), len(span), flags) == ("00", 32, 16, "01")
    assert traces.continue_trace(trace.hop_header()) == trace

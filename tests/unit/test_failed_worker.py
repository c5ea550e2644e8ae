"""A worker that has failed writes nothing more, though its agents go on."""

import asyncio
from pathlib import Path

import pytest
from faust.types import TP, RecordMetadata

from agents.app import App, AppOptions, create_app
from agents.transport.errors import ClientFatalError, DeliveryError
from agents.transport.producer import Producer

_REPORT_S = 60.0


def test_records_sent_after_a_failure_do_not_reach_librdkafka(tmp_path: Path) -> None:
    # Records that had reached librdkafka are reported as dropped.
    async def drop_reports() -> list[bool]:
        app = _app(tmp_path)
        producer: Producer = app.producer  # type: ignore[assignment]
        async with producer:
            reports = [await _send(producer, b"before")]
            producer.cut()
            reports.append(await _send(producer, b"under way"))
            app.fail(ClientFatalError("fenced"))
            reports.append(await _send(producer, b"after"))
            producer.cut()
            await asyncio.wait(reports[:1], timeout=_REPORT_S)
        return [report.done() and bool(report.exception()) for report in reports]

    assert asyncio.run(drop_reports()) == [True, False, False]


def test_changelog_is_not_taken_over_after_a_failure(tmp_path: Path) -> None:
    async def take_over() -> None:
        app = _app(tmp_path)
        producer: Producer = app.producer  # type: ignore[assignment]
        async with producer, asyncio.timeout(_REPORT_S):
            app.fail(ClientFatalError("fenced"))
            await producer.write_changelog(TP("changelog", 0), 1, [(b"key", b"row")])

    with pytest.raises(DeliveryError, match="fenced"):
        asyncio.run(take_over())


async def _send(producer: Producer, value: bytes) -> "asyncio.Future[RecordMetadata]":
    report = await producer.send("topic", None, value, 0, None, None)
    assert isinstance(report, asyncio.Future)
    return report


def _app(home: Path) -> App:
    return create_app(
        "failed", AppOptions(bootstrap_servers="localhost:1", home=home, partitions=1)
    )

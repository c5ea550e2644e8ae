"""Coupons of the topic `coupons`: issued ones, and the first redemption of each.

The order of the topic decides, so that all gateways agree: a gateway writes a redemption, and has
its result once it has read the redemption back.
"""

import asyncio
import logging
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Final, cast

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from msgspec import Struct
from msgspec.structs import replace

from pipeline.adapters.avro import Codec
from pipeline.adapters.coupon_codes import CouponCodes
from pipeline.adapters.kafka import Property
from pipeline.adapters.rocks import RowMap, open_rows
from pipeline.model import topics
from pipeline.model.coupon import CouponRecord

_log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.05
_MAX_BATCH_SIZE: Final = 500


class Redemption(Struct, frozen=True, array_like=True):
    """First redemption, at `at` (epoch ms)."""

    redemption_id: str
    source: str
    at: int


class Coupon(Struct, frozen=True, array_like=True):
    """Issued coupon; `redemption` None: not redeemed yet."""

    token: str
    expires_at: int
    redemption: Redemption | None = None


class CouponBook:
    """State of every coupon, as far as the topic has been read."""

    def __init__(self, rows: RowMap) -> None:
        self._rows = rows
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Coupon)
        self._futures: defaultdict[tuple[str, str], list[asyncio.Future[Coupon]]] = defaultdict(
            list
        )
        self.is_current = False
        """Whether the topic has been read up to its end."""

    def find(self, code: str) -> Coupon | None:
        """Return a coupon; None: this code was not issued."""
        row = self._rows.get(code.encode())
        return None if row is None else self._decoder.decode(row)

    @contextmanager
    def watch_redemption(self, code: str, redemption_id: str) -> "Iterator[asyncio.Future[Coupon]]":
        """Yield a future of the coupon after this redemption, once it is read from the topic."""
        future: asyncio.Future[Coupon] = asyncio.get_running_loop().create_future()
        futures = self._futures[code, redemption_id]
        futures.append(future)
        try:
            yield future
        finally:
            futures.remove(future)
            if not futures:
                self._futures.pop((code, redemption_id), None)

    def apply(self, records: Sequence[CouponRecord]) -> None:
        """Apply records in the order of the topic."""
        for record in records:
            coupon = self._coupon_after(record)
            if coupon is not None:
                self._rows[record.code.encode()] = self._encoder.encode(coupon)
                self._resolve_waiting(record, coupon)

    def _coupon_after(self, record: CouponRecord) -> Coupon | None:
        coupon = self.find(record.code)
        if record.redemption_id is None:
            return coupon or Coupon(record.token, record.expires_at)
        if coupon is None or coupon.redemption is not None or record.at >= coupon.expires_at:
            return coupon
        redemption = Redemption(record.redemption_id, record.source, record.at)
        return replace(coupon, redemption=redemption)

    def _resolve_waiting(self, record: CouponRecord, coupon: Coupon) -> None:
        for future in self._futures.get((record.code, record.redemption_id or ""), ()):
            if not future.done():
                future.set_result(coupon)


@dataclass(frozen=True, slots=True)
class CouponDesk:
    """Codes and state of coupons, for the endpoints that issue and redeem them."""

    codes: CouponCodes
    book: CouponBook


class CouponReader:
    """Thread that reads the topic from its beginning into a book.

    `fail` is called in the thread, with the reason, when the process must end.
    """

    def __init__(
        self,
        client: Mapping[str, Property],
        folder: Path,
        codec: Codec,
        fail: Callable[[str], None],
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._rows = open_rows(folder)
        self.book = CouponBook(cast(RowMap, self._rows))
        self._loop = asyncio.get_running_loop()
        self._codec = codec
        self._fail = fail
        self._closing = False
        self._unread_partitions: set[int] = set()
        self._consumer = Consumer(
            {
                **client,
                "group.id": "kairos.coupons",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 500,
            }
        )
        self._thread = Thread(target=self._run, name="coupons", daemon=True)

    def start(self) -> None:
        """Start reading. Raises KafkaException, or LookupError without the topic."""
        metadata = self._consumer.list_topics(topics.COUPONS, timeout=_TIMEOUT_S)
        topic = metadata.topics[topics.COUPONS]
        if topic.error is not None:
            raise LookupError(f"no topic {topics.COUPONS}: `kairos up` creates it")
        self._unread_partitions = set(topic.partitions)
        self._consumer.assign(
            [TopicPartition(topics.COUPONS, partition, 0) for partition in topic.partitions]
        )
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self._consumer.close()
        self._rows.close()

    def _run(self) -> None:
        try:
            while not self._closing:
                message = self._consumer.poll(_POLL_S)
                if message is not None:
                    self._hand_over([message, *self._consumer.consume(_MAX_BATCH_SIZE, 0)])
        except Exception as error:
            _log.exception("coupons cannot be read")
            self._fail(f"coupons: {error}")

    def _hand_over(self, messages: Sequence[Message]) -> None:
        records = [record for record in map(self._record, messages) if record is not None]
        self._loop.call_soon_threadsafe(self._apply, records, not self._unread_partitions)

    def _apply(self, records: Sequence[CouponRecord], is_current: bool) -> None:
        self.book.apply(records)
        self.book.is_current = is_current

    def _record(self, message: Message) -> CouponRecord | None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._unread_partitions.discard(message.partition() or 0)
                return None
            if error.fatal() or not error.retriable():
                raise KafkaException(error)
            return None
        value = message.value()
        coupon = self._codec.decode(topics.COUPONS, value) if isinstance(value, bytes) else None
        if isinstance(coupon, CouponRecord):
            return coupon
        _log.warning("unreadable record in coupons: %s", coupon)
        return None

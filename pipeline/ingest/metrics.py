"""Prometheus metrics of the watcher of files."""

from typing import Final

from prometheus_client import Counter, Gauge

FILES: Final = Counter(
    "kairos_ingest_files", "Files taken, by their result: done or failed", ["watch", "state"]
)
ROWS: Final = Counter("kairos_ingest_rows", "Rows of files, sent or rejected", ["watch", "result"])
WAITING_FILES: Final = Gauge(
    "kairos_ingest_waiting_files", "Files that are not complete yet", ["watch"]
)
FAILURES: Final = Counter(
    "kairos_ingest_failures", "Looks that failed: no connection, no rights, no Kafka", ["watch"]
)
LOOK_TIME: Final = Gauge(
    "kairos_ingest_looked_seconds", "Time of a watch's last look without a failure", ["watch"]
)

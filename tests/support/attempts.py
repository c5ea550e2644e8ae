"""Attempt of a delivery that keeps the records of its adapter."""


class RecordedAttempt:
    """Attempt for an adapter; `records`: the adapter's records in order (begun, failed)."""

    def __init__(self) -> None:
        self.records: list[str] = []

    def begin(self) -> None:
        self.records.append("begun")

    def record_failure(self) -> None:
        self.records.append("failed")

"""Attempt of a delivery that keeps the records of its adapter."""


class RecordedAttempt:
    """Attempt for an adapter; `recorded`: its records in order (begun, failed)."""

    def __init__(self) -> None:
        self.recorded: list[str] = []

    def begin(self) -> None:
        self.recorded.append("begun")

    def record_failure(self) -> None:
        self.recorded.append("failed")

"""Attempt of a delivery that keeps what its adapter recorded."""


class RecordedAttempt:
    """Attempt for an adapter, with what it `recorded` in its order: begun, failed."""

    def __init__(self) -> None:
        self.recorded: list[str] = []

    def begin(self) -> None:
        self.recorded.append("begun")

    def record_failure(self) -> None:
        self.recorded.append("failed")

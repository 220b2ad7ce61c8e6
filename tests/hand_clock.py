"""A monotonic clock that a test moves by hand."""


class HandClock:
    """Stands still until `now`, in seconds, is moved: nothing falls due by itself."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

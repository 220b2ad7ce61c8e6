"""Imports at the start of a program that runs for long."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_garbage() -> Iterator[None]:
    """For a block of imports. What is imported stays: Python's collector neither looks for garbage meanwhile,
    a quarter of the time, nor goes through all of it again and again later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

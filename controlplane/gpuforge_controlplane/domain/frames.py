"""What a byte of a live frame means: one GPU's figure or state, in each column."""

from __future__ import annotations

UNKNOWN = 255  # no telemetry, or none for 90 s: missing is not zero
MOST = 254  # what is higher is shown as this
POWER_STEP_W = 8  # a byte of power reaches 2,032 W

# The lowest three bits of a flags byte.
STATUS_BITS = 0b111
IDLE, ACTIVE, UNHEALTHY, OFFLINE = range(4)

# And the others, one meaning each.
ALLOCATED = 8  # a running job holds the GPU
CORDONED = 16  # its node takes no new jobs
DRAINING = 32  # its node is being emptied
STALE = 64  # no sample for 90 s, or never one

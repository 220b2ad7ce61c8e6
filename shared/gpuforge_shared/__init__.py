"""The words both sides speak: wire models, errors, clock, logs."""

"""Use cases: one function an endpoint, one short transaction each."""

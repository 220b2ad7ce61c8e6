"""Wire models by noun: pydantic for what people write, msgspec for the hot path, TypedDicts for answers."""

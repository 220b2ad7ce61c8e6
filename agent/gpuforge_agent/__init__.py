"""The agent: what runs on every GPU host."""

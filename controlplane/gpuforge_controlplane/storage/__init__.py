"""SQLAlchemy lives here only: plain functions on a connection."""

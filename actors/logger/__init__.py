"""Structured, redacted, bounded logging that never waits for a disk."""

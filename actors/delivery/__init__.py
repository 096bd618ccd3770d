"""The delivery subsystem: what must outlive a connection."""

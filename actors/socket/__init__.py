"""The socket subsystem: one connection, its wire format and its heartbeat."""

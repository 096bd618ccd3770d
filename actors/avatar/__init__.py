"""The avatar subsystem: a remote LiveAvatar session that follows the voice."""

"""The life of the access token: acquired, renewed ahead of its expiry, lost, wiped."""

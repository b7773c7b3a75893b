"""The watcher: what it sees, what it makes of that, when it restarts, and its metrics."""

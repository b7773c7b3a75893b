"""The terminal: its streams, what is printed on them, its signals. Nothing else prints."""

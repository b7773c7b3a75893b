"""What each verb does, without a terminal: typed requests in, events and typed results out."""

"""What of ours runs or was launched, read from the containers' labels; the ranks' supervisor."""

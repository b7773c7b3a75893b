"""Tests against the real thing on the other side. Each skips, with a reason, where it is absent."""

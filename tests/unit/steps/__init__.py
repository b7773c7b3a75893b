"""The steps: cases as data, see README.md."""

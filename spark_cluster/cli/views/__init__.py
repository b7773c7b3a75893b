"""How results and events look: tables and lines for a person. They decide nothing."""

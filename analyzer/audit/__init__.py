"""The system's state told from its own tables: what ran, what was lost, what grows, and what to do next."""

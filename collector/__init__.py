"""Sockets to rows to an on-disk journal to QuestDB. Keeps no history in the process."""

__version__ = "0.1.0"

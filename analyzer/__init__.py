"""Windows of SQL/Arrow to numbers: `signals`, reports, alerts. Keeps nothing between passes."""

__version__ = "0.1.0"

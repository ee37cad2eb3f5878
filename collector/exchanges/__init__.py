"""The venues. Add one here, and nowhere else outside its own module."""

from __future__ import annotations

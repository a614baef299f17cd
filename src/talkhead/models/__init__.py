"""Torch parts that engines share: imported by name, and never by the package itself."""

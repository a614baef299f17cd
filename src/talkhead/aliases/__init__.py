"""The payloads of older systems, read as requests of this version and answered in their shape.

Pure functions over tables: no file is opened, nothing is resolved, nothing is fetched.
docs/older_payloads.md is made from the tables.
"""

from talkhead.aliases.answers import answer, failure
from talkhead.aliases.reading import Reading, glance, read
from talkhead.aliases.retelling import retold

__all__ = ["Reading", "answer", "failure", "glance", "read", "retold"]

"""What tests share: `from tests.support import Database, Databases`."""

from tests.support.databases import Database, Databases

__all__ = ["Database", "Databases"]

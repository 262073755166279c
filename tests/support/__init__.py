"""What tests share: `from tests.support import Database, Databases, read_ledger`."""

from tests.support.databases import Database, Databases
from tests.support.ledgers import read_ledger
from tests.support.migrations import write_sum

__all__ = ["Database", "Databases", "read_ledger", "write_sum"]

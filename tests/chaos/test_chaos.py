"""All scenarios, in one file so that one process runs them, one after the other, in one arena (`--dist loadfile`)."""

# ruff: noqa: F403

from tests.chaos.handlers import *
from tests.chaos.monkey import *
from tests.chaos.network import *
from tests.chaos.processes import *
from tests.chaos.servers import *
from tests.chaos.stream import *

"""Runs the tests of Temporal's Python SDK with their activities delegated, and says what differs.

`python -m tests.conformance` (`make conformance`) prepares and judges. `pytest_plugin` runs in the pytest processes
that run the SDK's tests, in a virtual environment of their own. The imports within this package are relative, because a
package called `tests` is the SDK's there.
"""

"""x"""
from contextlib import asynccontextmanager
from examples.payments.service import run_service
@asynccontextmanager
async def r():
    yield
run_service(r())

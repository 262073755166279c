"""`python -m shop`: runs one workflow and prints its result."""

import asyncio

from examples import ORDER
from loadtest import TASK_QUEUE
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.worker import Worker

from delegator import DelegatorPlugin
from shop import tasks
from shop.workflow import Checkout


async def main() -> None:
    """Run a worker and one workflow."""
    config = ClientConfig.load_client_connect_config()
    client = await Client.connect(**config, plugins=[DelegatorPlugin(delegated=[tasks])])
    async with Worker(client, task_queue=TASK_QUEUE, workflows=[Checkout]):
        print(await client.execute_workflow(Checkout.run, ORDER, id="checkout", task_queue=TASK_QUEUE))


asyncio.run(main())

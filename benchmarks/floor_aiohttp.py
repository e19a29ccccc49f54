"""The least that asking and scoring costs: asyncio, aiohttp and two metrics."""

import asyncio
import json

import aiohttp
from yarl import URL

from benchmarks.floor import CONCURRENCY
from benchmarks.floor import Rows
from benchmarks.floor import print_means
from benchmarks.floor import read


async def ask_all(url: str, rows: Rows) -> list[str]:
    replies = [""] * len(rows)
    queue, address = iter(enumerate(rows)), URL(f"{url}/chat/completions")

    async def work(client: aiohttp.ClientSession) -> None:
        for index, row in queue:
            message = {"role": "user", "content": row["question"]}
            async with client.post(address, json={"messages": [message]}) as response:
                reply = json.loads(await response.read())
            replies[index] = reply["choices"][0]["message"]["content"]

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        await asyncio.gather(*(work(client) for _ in range(CONCURRENCY)))
    return replies


if __name__ == "__main__":
    url, rows = read()
    print_means(rows, asyncio.run(ask_all(url, rows)))

"""The least that asking with the openai client and scoring costs."""

import asyncio

from openai import AsyncOpenAI

from benchmarks.floor import CONCURRENCY
from benchmarks.floor import Rows
from benchmarks.floor import print_means
from benchmarks.floor import read


async def ask_all(url: str, rows: Rows) -> list[str]:
    replies, queue = [""] * len(rows), iter(enumerate(rows))

    async def work(client: AsyncOpenAI) -> None:
        for index, row in queue:
            message = {"role": "user", "content": row["question"]}
            reply = await client.chat.completions.create(
                model="bench", messages=[message]
            )
            replies[index] = reply.choices[0].message.content

    async with AsyncOpenAI(base_url=url, api_key="none") as client:
        await asyncio.gather(*(work(client) for _ in range(CONCURRENCY)))
    return replies


if __name__ == "__main__":
    url, rows = read()
    print_means(rows, asyncio.run(ask_all(url, rows)))

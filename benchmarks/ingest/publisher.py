"""Publishes posts at a steady rate, whatever happens: `python -m benchmarks.ingest.publisher`.

A process of its own, so that it does not share an interpreter with what it measures. Post i is due
at start + i / rate on the machine's monotonic clock; the first line of output says the start.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from benchmarks.ingest import workload
from service_kit.event_log import TOPIC_IN_NETWORK, TOPIC_POSTS, Entry, EventSink
from service_kit.event_logs import open_sink
from service_kit.settings import ServiceSettings

TICK_S = 0.005


def entries_of(topic: str, count: int, first_id: int) -> list[Entry]:
    now_ms = int(time.time() * 1000)
    load = workload.make(count, now_ms, first_id=first_id)
    load = load.as_posts() if topic == TOPIC_POSTS else load
    return load.entries(0, count, now_ms)


async def run(sink: EventSink, topic: str, entries: list[Entry], rate: int) -> None:
    await sink.append(topic, *entries[0])  # connects before the clock starts
    start_s = time.monotonic()
    print(start_s, flush=True)
    sending: set[asyncio.Task[None]] = set()
    sent = 1
    while sent < len(entries):
        due = min(len(entries), int((time.monotonic() - start_s) * rate))
        if due > sent:
            task = asyncio.create_task(sink.append_many(topic, entries[sent:due]))
            sending.add(task)
            task.add_done_callback(sending.discard)
            sent = due
        await asyncio.sleep(TICK_S)
    await asyncio.gather(*sending)


async def _main(options: argparse.Namespace) -> None:
    entries = entries_of(options.topic, options.count, options.first_id)
    settings = ServiceSettings.load(
        kafka_bootstrap_servers=options.servers, kafka_topic_prefix=options.prefix
    )
    sink = await open_sink(settings)
    await run(sink, options.topic, entries, options.rate)
    await sink.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", required=True)
    parser.add_argument("--prefix", default="")
    parser.add_argument("--topic", choices=(TOPIC_POSTS, TOPIC_IN_NETWORK), required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--first-id", type=int, required=True)
    asyncio.run(_main(parser.parse_args()))

"""Pipelines over a cluster's nodes: one write and one read a node.

redis-py's own cluster pipeline decides anew for each command where it may go, which costs more
than the command. Here a command goes to the primary of its key; when anything moved, or a node
does not answer, the library's pipeline does all of it again, with what it knows of redirections.
Every command of ours may be done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis' own, which is no OSError
    MovedError,
    SlotNotCoveredError,
    TimeoutError,  # noqa: A004
    TryAgainError,
)

Command = tuple[Any, ...]  # its words; the key is the second, or the fourth of EVAL
# A slot that is somewhere else now; a MovedError is an AskError.
MOVED = (AskError, MovedError, TryAgainError, ClusterDownError, SlotNotCoveredError)
AWAY = (ConnectionError, TimeoutError)


def key_of(command: Command) -> Any:
    """The command's only key, or its first."""
    return command[3] if command[0] == "EVAL" else command[1]


async def pipelined(client: RedisCluster, commands: Sequence[Command]) -> list[Any]:
    """Replies in order, refusals among them as exceptions; every node is asked at once."""
    await client.initialize()
    try:
        nodes = _by_node(client, commands)
    except SlotNotCoveredError:
        return await _again(client, commands)
    ends = await asyncio.gather(
        *(node.execute_pipeline(queue) for node, queue in nodes.values()), return_exceptions=True
    )
    for end in ends:
        if isinstance(end, BaseException):
            if isinstance(end, AWAY):
                return await _again(client, commands)
            raise end
    replies: list[Any] = [None] * len(commands)
    for _, queue in nodes.values():
        for command in queue:
            replies[command.position] = command.result
    if any(isinstance(reply, (*MOVED, *AWAY)) for reply in replies):
        return await _again(client, commands)
    return replies


def _by_node(
    client: RedisCluster, commands: Sequence[Command]
) -> dict[str, tuple[ClusterNode, list[PipelineCommand]]]:
    nodes: dict[str, tuple[ClusterNode, list[PipelineCommand]]] = {}
    for position, command in enumerate(commands):
        node = client.get_node_from_key(key_of(command))
        assert node is not None  # only a replica that is asked for may be missing
        nodes.setdefault(node.name, (node, []))[1].append(PipelineCommand(position, *command))
    return nodes


async def _again(client: RedisCluster, commands: Sequence[Command]) -> list[Any]:
    pipeline = client.pipeline()
    for command in commands:
        pipeline.execute_command(*command)
    return await pipeline.execute(raise_on_error=False)


def pipelined_blocking(client: Any, commands: Sequence[Command]) -> list[Any]:
    """As `pipelined` on a `redis.RedisCluster`, one node after the other."""
    try:
        nodes: dict[str, tuple[Any, list[int]]] = {}
        for position, command in enumerate(commands):
            node = client.get_node_from_key(key_of(command))
            nodes.setdefault(node.name, (node, []))[1].append(position)
        replies: list[Any] = [None] * len(commands)
        for node, positions in nodes.values():
            pipeline = client.get_redis_connection(node).pipeline(transaction=False)
            for position in positions:
                pipeline.execute_command(*commands[position])
            for position, reply in zip(
                positions, pipeline.execute(raise_on_error=False), strict=True
            ):
                replies[position] = reply
    except (*MOVED, *AWAY):
        return _again_blocking(client, commands)
    if any(isinstance(reply, MOVED) for reply in replies):
        return _again_blocking(client, commands)
    return replies


def _again_blocking(client: Any, commands: Sequence[Command]) -> list[Any]:
    pipeline = client.pipeline()
    for command in commands:
        pipeline.execute_command(*command)
    return list(pipeline.execute(raise_on_error=False))

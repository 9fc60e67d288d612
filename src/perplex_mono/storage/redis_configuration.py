"""The configuration of the private Redis: a socket only, nothing on disk, and no command that the queue never sends."""

from pathlib import Path

from perplex_mono.storage.redis_folder import SOCKET_NAME

KEY_PATTERN = "arq:*"

# What arq 0.28 and redis-py 5.3 send to queue and run a job, and nothing else: no scripts, flush, configuration,
# key listing, publishing or administration.
COMMANDS = (
    *("ping", "info", "dbsize", "watch", "unwatch", "multi", "exec", "discard"),
    *("exists", "get", "psetex", "incrby", "expire", "del"),
    *("zadd", "zcard", "zrangebyscore", "zrem", "zscore"),
)


def write_configuration(path: Path, max_memory_megabytes: int) -> None:
    """Write it for a child that lives in the folder of `path`, for this user's eyes only."""
    path.touch(mode=0o600)
    path.write_text(_configuration(path.parent, max_memory_megabytes), encoding="utf-8")


def _configuration(folder: Path, max_memory_megabytes: int) -> str:
    allowed = " ".join(f"+{command}" for command in COMMANDS)
    return "\n".join(
        (
            "port 0",
            f"unixsocket {_quoted(folder / SOCKET_NAME)}",
            "unixsocketperm 700",
            f"dir {_quoted(folder)}",
            'save ""',
            "appendonly no",
            "databases 1",
            "maxclients 128",
            f"maxmemory {max_memory_megabytes}mb",
            "maxmemory-policy allkeys-lru",
            "loglevel warning",
            f"user default reset on nopass ~{KEY_PATTERN} -@all {allowed}",
            "",
        )
    )


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'

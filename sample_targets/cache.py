"""The cache server: RESP on a port, enough of Redis for redis-py, redis-cli and whoever watches it."""

import asyncio
import contextlib
import fnmatch
import os
import secrets
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable

import psutil

from sample_targets.fault import Fault
from sample_targets.keyspace import Counters, Keyspace
from sample_targets.layout import HOST, Layout
from sample_targets.resp import ErrorReply, ProtocolError, Reply, Simple, encode, read_command

REDIS_VERSION = "7.2.4"  # the behaviour it follows; clients decide by this what they may ask
MAX_CLIENTS = 200
MAX_MEMORY_BYTES = 64 * 1024 * 1024
# Less than the bare process needs, as after a limit in the wrong unit: every key is evicted as soon as it is set.
COLD_MEMORY_BYTES = 1024 * 1024
OK = Simple("OK")


class Client:
    """What the server knows of one connection."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.protocol = 2
        self.name = ""
        self.closing = False


class CacheServer:
    """Commands over one keyspace."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._process = psutil.Process()
        self._started_s = time.monotonic()
        self._run_id = secrets.token_hex(20)
        self._clients: set[Client] = set()
        self.keyspace = Keyspace(base_bytes=self._process.memory_info().rss, max_bytes=MAX_MEMORY_BYTES)
        self._commands: dict[str, Callable[[Client, list[bytes]], Reply]] = {
            "PING": self._ping,
            "ECHO": lambda _, args: args[0],
            "HELLO": self._hello,
            "CLIENT": self._client,
            "AUTH": self._auth,
            "SELECT": lambda _, args: OK if args[0] == b"0" else ErrorReply("ERR DB index is out of range"),
            "QUIT": self._quit,
            "COMMAND": lambda *_: [],
            "CONFIG": self._config,
            "INFO": self._info,
            "DBSIZE": lambda *_: len(self.keyspace),
            "GET": lambda _, args: self.keyspace.get(args[0]),
            "MGET": lambda _, args: [self.keyspace.get(key) for key in args],
            "SET": self._set,
            "SETEX": self._setex,
            "DEL": lambda _, args: sum(self.keyspace.delete(key) for key in args),
            "UNLINK": lambda _, args: sum(self.keyspace.delete(key) for key in args),
            "EXISTS": lambda _, args: sum(self.keyspace.exists(key) for key in args),
            "EXPIRE": lambda _, args: int(self.keyspace.expire(args[0], int(args[1]))),
            "TTL": self._ttl,
            "KEYS": self._keys,
            "INCR": self._incr,
            "FLUSHALL": self._flush,
            "FLUSHDB": self._flush,
            "SLOWLOG": lambda _, args: 0 if args[0].upper() == b"LEN" else [],
            "LATENCY": lambda *_: [],
        }

    async def accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one connection until it ends."""
        counters = self.keyspace.counters
        counters.total_connections_received += 1
        client = Client(counters.total_connections_received)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if len(self._clients) >= MAX_CLIENTS:
                counters.rejected_connections += 1
                writer.write(encode(ErrorReply("ERR max number of clients reached")))
            else:
                self._clients.add(client)
                await self._converse(client, reader, writer)
            await writer.drain()
        self._clients.discard(client)
        writer.close()

    async def _converse(self, client: Client, reader: StreamReader, writer: StreamWriter) -> None:
        while not client.closing:
            try:
                command = await read_command(reader)
            except ProtocolError as error:
                writer.write(encode(ErrorReply(f"ERR Protocol error: {error}")))
                return
            if command is None:
                return
            if command:
                writer.write(encode(self.answer(client, command), client.protocol))
                await writer.drain()

    def answer(self, client: Client, command: list[bytes]) -> Reply:
        """The reply to one command; what the client got wrong comes back as an error, not as an exception."""
        self.keyspace.counters.total_commands_processed += 1
        name = command[0].decode(errors="replace")
        handler = self._commands.get(name.upper())
        if handler is None:
            return ErrorReply(f"ERR unknown command '{name[:40]}', with args beginning with: ")
        try:
            return handler(client, command[1:])
        except ErrorReply as error:
            return error
        except IndexError:
            return ErrorReply(f"ERR wrong number of arguments for '{name.lower()}' command")
        except ValueError:
            return ErrorReply("ERR value is not an integer or out of range")

    def _ping(self, _: Client, args: list[bytes]) -> Reply:
        return args[0] if args else Simple("PONG")

    def _hello(self, client: Client, args: list[bytes]) -> Reply:
        if args and args[0] not in (b"2", b"3"):
            return ErrorReply("NOPROTO unsupported protocol version")
        client.protocol = int(args[0]) if args else client.protocol
        return {
            "server": "redis",
            "version": REDIS_VERSION,
            "proto": client.protocol,
            "id": client.number,
            "mode": "standalone",
            "role": "master",
            "modules": [],
        }

    def _client(self, client: Client, args: list[bytes]) -> Reply:
        match args[0].upper():
            case b"ID":
                return client.number
            case b"GETNAME":
                return client.name
            case b"SETNAME":
                client.name = args[1].decode(errors="replace")
                return OK
            case b"INFO":
                return f"id={client.number} name={client.name} db=0 resp={client.protocol}\n"
            case b"SETINFO" | b"NO-EVICT" | b"NO-TOUCH":
                return OK
            case other:
                return ErrorReply(f"ERR unknown subcommand '{other.decode(errors='replace')[:40]}'. Try CLIENT HELP.")

    def _auth(self, _: Client, args: list[bytes]) -> Reply:
        del args
        return ErrorReply(
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?"
        )

    def _quit(self, client: Client, _: list[bytes]) -> Reply:
        client.closing = True
        return OK

    def _config(self, _: Client, args: list[bytes]) -> Reply:
        match args[0].upper():
            case b"RESETSTAT":
                self.keyspace.counters = Counters()
                return OK
            case b"GET":
                settings = {
                    "maxmemory": str(self.keyspace.max_bytes),
                    "maxmemory-policy": "allkeys-lru",
                    "maxclients": str(MAX_CLIENTS),
                    "save": "",
                    "appendonly": "no",
                }
                patterns = [pattern.decode(errors="replace").lower() for pattern in args[1:]]
                return {
                    name: value
                    for name, value in settings.items()
                    if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
                }
            case _:
                return ErrorReply("ERR CONFIG knows GET and RESETSTAT here")

    def _set(self, _: Client, args: list[bytes]) -> Reply:
        key, value, *options = args[0], args[1], *args[2:]
        ttl_s = None
        while options:
            match options.pop(0).upper():
                case b"EX":
                    ttl_s = float(int(options.pop(0)))
                case b"PX":
                    ttl_s = int(options.pop(0)) / 1000
                case b"NX":
                    if self.keyspace.exists(key):
                        return None
                case _:
                    return ErrorReply("ERR syntax error")
        if ttl_s is not None and ttl_s <= 0:
            return ErrorReply("ERR invalid expire time in 'set' command")
        self.keyspace.set(key, value, ttl_s)
        return OK

    def _setex(self, client: Client, args: list[bytes]) -> Reply:
        return self._set(client, [args[0], args[2], b"EX", args[1]])

    def _ttl(self, _: Client, args: list[bytes]) -> Reply:
        ttl_s = self.keyspace.ttl_s(args[0])
        return -2 if ttl_s is None else round(ttl_s)

    def _keys(self, _: Client, args: list[bytes]) -> Reply:
        pattern = args[0].decode(errors="replace")
        return [key for key in self.keyspace.names() if fnmatch.fnmatchcase(key.decode(errors="replace"), pattern)]

    def _incr(self, _: Client, args: list[bytes]) -> Reply:
        number = int(self.keyspace.get(args[0]) or b"0") + 1
        self.keyspace.set(args[0], b"%d" % number)
        return number

    def _flush(self, *_: object) -> Reply:
        self.keyspace.clear()
        return OK

    def _info(self, _: Client, args: list[bytes]) -> Reply:
        wanted = {arg.decode(errors="replace").lower() for arg in args} - {"all", "default", "everything"}
        sections = {name: lines for name, lines in self._sections().items() if not wanted or name.lower() in wanted}
        return "\r\n".join(
            f"# {name}\r\n" + "".join(f"{key}:{value}\r\n" for key, value in lines.items())
            for name, lines in sections.items()
        )

    def _sections(self) -> dict[str, dict[str, object]]:
        keyspace, counters = self.keyspace, self.keyspace.counters
        rss_bytes = self._process.memory_info().rss
        cpu = self._process.cpu_times()
        uptime_s = int(time.monotonic() - self._started_s)
        keys = {"db0": f"keys={len(keyspace)},expires={keyspace.expiring},avg_ttl=0"} if len(keyspace) else {}
        return {
            "Server": {
                "redis_version": REDIS_VERSION,
                "redis_mode": "standalone",
                "os": sys.platform,
                "process_id": os.getpid(),
                "run_id": self._run_id,
                "tcp_port": self._port,
                "uptime_in_seconds": uptime_s,
                "uptime_in_days": uptime_s // 86400,
            },
            "Clients": {"connected_clients": len(self._clients), "maxclients": MAX_CLIENTS, "blocked_clients": 0},
            "Memory": {
                "used_memory": keyspace.used_bytes,
                "used_memory_rss": rss_bytes,
                "maxmemory": keyspace.max_bytes,
                "maxmemory_policy": "allkeys-lru",
                "mem_fragmentation_ratio": f"{rss_bytes / keyspace.used_bytes:.2f}",
            },
            "Persistence": {"loading": 0, "rdb_last_bgsave_status": "ok", "aof_enabled": 0},
            "Stats": {name: getattr(counters, name) for name in Counters.__slots__},
            "Replication": {"role": "master", "connected_slaves": 0},
            "CPU": {"used_cpu_sys": f"{cpu.system:.6f}", "used_cpu_user": f"{cpu.user:.6f}"},
            "Keyspace": dict(keys),
        }


async def serve_cache(layout: Layout) -> None:
    """Listen until cancelled, and be cold while the fault is on."""
    cache = CacheServer(layout.port("cache"))
    server = await asyncio.start_server(cache.accept, HOST, layout.port("cache"))
    async with server:
        while True:
            cold = layout.faults.is_on(Fault.COLD_CACHE)
            cache.keyspace.max_bytes = COLD_MEMORY_BYTES if cold else MAX_MEMORY_BYTES
            cache.keyspace.evict()
            cache.keyspace.sweep()
            await asyncio.sleep(0.1)


def run_cache(layout: Layout) -> None:
    """The process of the cache server."""
    asyncio.run(serve_cache(layout))

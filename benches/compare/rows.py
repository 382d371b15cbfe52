"""What is measured? The table: each row's workload, its data, and what it is to reach.

A target is the most that a figure may be, as a multiple of the reference server's
in the same run (`must`), or the most bytes per item (memory rows).
"""

from dataclasses import dataclass, field
from typing import Callable, Iterator

MILLION = 1_000_000
VALUE = b"x" * 32

Command = tuple


@dataclass(frozen=True)
class Load:
    """A row of the load generator: one command, repeated by 50 connections."""
    name: str
    command: list[str]           # __rand_int__ is replaced by 12 digits below `keyspace`
    pipeline: int
    must: float | None           # server CPU per request over the reference's
    keyspace: int = MILLION
    data: Callable[[int], Iterator[Command]] | None = None  # what is there before; given a scale
    forget: list[str] = field(default_factory=list)         # keys deleted before each run
    script: str | None = None    # loaded first; its digest replaces {sha}


@dataclass(frozen=True)
class Memory:
    """Resident bytes per item, over those of the empty server."""
    name: str
    title: str
    must: float | None           # bytes per item; None: no worse than the reference
    payload: int                 # bytes of an item that are not counted
    items: int
    data: Callable[[int], Iterator[Command]]


def strings(n: int) -> Iterator[Command]:
    return ((b"SET", b"key:%012d" % i, VALUE) for i in range(n))


def lists_of_100(n: int) -> Iterator[Command]:
    for i in range(n // 1000):
        yield (b"RPUSH", b"list:%012d" % i, *(b"element-%04d" % j for j in range(100)))


def hashes_of_25(n: int) -> Iterator[Command]:
    for i in range(n // 1000):
        pairs = (w for j in range(25) for w in (b"field-%02d" % j, b"value-%04d" % j))
        yield (b"HSET", b"hash:%012d" % i, *pairs)


def one_zset(n: int) -> Iterator[Command]:
    for i in range(0, n, 100):
        pairs = (w for j in range(i, min(i + 100, n)) for w in (b"%d" % j, b"mem:%012d" % j))
        yield (b"ZADD", b"zset", *pairs)


def one_set(n: int) -> Iterator[Command]:
    for i in range(0, n, 100):
        yield (b"SADD", b"set", *(b"mem:%012d" % j for j in range(i, min(i + 100, n))))


def one_hash(n: int) -> Iterator[Command]:
    for i in range(0, n, 100):
        pairs = (w for j in range(i, min(i + 100, n)) for w in (b"fld:%012d" % j, b"val:%012d" % j))
        yield (b"HSET", b"hash", *pairs)


def one_list(n: int) -> Iterator[Command]:
    for i in range(0, n, 100):
        yield (b"RPUSH", b"list", *(b"ele:%012d" % j for j in range(i, min(i + 100, n))))


def one_stream(n: int) -> Iterator[Command]:
    return ((b"XADD", b"stream", b"%d-1" % (i + 1), b"user", b"%d" % (i % 1000), b"temp", b"%d" % (i % 50))
            for i in range(n))


INCRBY = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
VALUE_64 = "x" * 64
GET, SET = ["GET", "key:__rand_int__"], ["SET", "key:__rand_int__", VALUE_64]

LOADS = [
    Load("get-p1", GET, 1, 0.95, data=strings),
    Load("set-p1", SET, 1, 0.95, data=strings),
    Load("get-p16", GET, 16, 0.60, data=strings),
    Load("set-p16", SET, 16, 0.60, data=strings),
    Load("get-p64", GET, 64, 0.46, data=strings),
    Load("set-p64", SET, 64, None, data=strings),
    Load("incr", ["INCR", "counter:__rand_int__"], 16, 0.70),
    Load("lpush", ["LPUSH", "list", "element-__rand_int__"], 16, 0.70, forget=["list"]),
    Load("hset", ["HSET", "hash", "field:__rand_int__", "value"], 16, 0.70),
    Load("sadd", ["SADD", "set", "mem:__rand_int__"], 16, 0.70, data=one_set),
    Load("xadd", ["XADD", "stream", "*", "user", "42", "temp", "21"], 16, 0.70, forget=["stream"]),
    Load("zadd", ["ZADD", "zset", "__rand_int__", "mem:__rand_int__"], 16, 0.50, data=one_zset),
    Load("lrange-100", ["LRANGE", "list:__rand_int__", "0", "99"], 16, 0.70, keyspace=1000, data=lists_of_100),
    Load("hgetall-25", ["HGETALL", "hash:__rand_int__"], 16, 0.70, keyspace=1000, data=hashes_of_25),
    Load("zrange-byscore", ["ZRANGE", "zset", "__rand_int__", "+inf", "BYSCORE", "LIMIT", "0", "10"], 16, 0.70,
         data=one_zset),
    Load("evalsha", ["EVALSHA", "{sha}", "1", "counter:__rand_int__", "1"], 16, 0.70, script=INCRBY),
]

MEMORY = [
    Memory("mem-string", "string, 16 B key + 32 B value", 26, 48, MILLION, strings),
    Memory("mem-ttl", "the same with a TTL", 34, 48, MILLION,
           lambda n: ((b"SET", b"key:%012d" % i, VALUE, b"EX", b"%d" % (86400 + i)) for i in range(n))),
    Memory("mem-integer", "string, 16 B key + small integer", 20, 16, MILLION,
           lambda n: ((b"SET", b"key:%012d" % i, b"%d" % (i % 10000)) for i in range(n))),
    Memory("mem-small-hash", "hash of 5 small fields, whole key", 125, 0, MILLION // 2,
           lambda n: ((b"HSET", b"key:%012d" % i, b"name", b"user%d" % (i % 1000), b"age", b"%d" % (i % 90),
                       b"city", b"london", b"plan", b"free", b"n", b"%d" % (i % 100)) for i in range(n))),
    Memory("mem-zset", "one sorted set, 16 B members", 48, 0, MILLION, one_zset),
    Memory("mem-set", "one set, 16 B members", 34, 0, MILLION, one_set),
    Memory("mem-hash", "one hash, 16 B fields and values", 56, 0, MILLION, one_hash),
    Memory("mem-list", "one list, 16 B elements", None, 0, MILLION, one_list),
    Memory("mem-stream", "one stream, 2 fields an entry", None, 0, MILLION, one_stream),
]

# Rows with a course of their own; see pauses.py.
PAUSES = ["snapshot", "snapshot-big-values", "aof-everysec", "aof-always", "growth",
          "big-delete", "big-delete-set", "big-delete-zset", "big-delete-list", "big-delete-stream",
          "big-expire", "big-overwrite", "flush-async", "flush-keys", "mass-expiry", "mass-eviction",
          "idle-clients", "storm"]

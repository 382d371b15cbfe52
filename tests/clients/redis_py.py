"""Does redis-py work, plain and asyncio, with RESP2 and RESP3?   usage: redis_py.py PORT"""

import asyncio
import sys
import threading

import redis
import redis.asyncio as aredis
from redis.cache import CacheConfig

PORT = int(sys.argv[1])
checks = 0


def same(got, expected):
    global checks
    checks += 1
    assert got == expected, f"got {got!r}, expected {expected!r}"


def data(r):
    r.flushall()
    same(r.ping(), True)
    same(r.set("k", "v", ex=100), True)
    same(r.get("k"), "v")
    same(90 < r.ttl("k") <= 100, True)
    same(r.set("k", "w", nx=True), None)
    same(r.getex("k", persist=True), "v")
    same(r.mset({"a": 1, "b": 2}), True)
    same(r.mget("a", "b", "nokey"), ["1", "2", None])
    same(r.incrbyfloat("f", 1.5), 1.5)
    same(r.setbit("bits", 7, 1), 0)
    same(r.bitfield("bf").set("u8", 0, 255).incrby("u8", 0, 1).execute(), [0, 0])
    same(r.hset("h", mapping={"a": 1, "b": 2}), 2)
    same(r.hgetall("h"), {"a": "1", "b": "2"})
    same(r.hexpire("h", 100, "a"), [1])
    same(r.httl("h", "b"), [-1])
    same(r.rpush("l", *range(5)), 5)
    same(r.lrange("l", 0, -1), ["0", "1", "2", "3", "4"])
    same(r.lpos("l", "3"), 3)
    same(tuple(r.blpop(["nolist", "l"], 1)), ("l", "0"))
    same(r.lmpop(1, "l", direction="LEFT", count=2), ["l", ["1", "2"]])
    same(r.sadd("s", "a", "b", "c"), 3)
    same(r.smembers("s"), {"a", "b", "c"})
    same(r.sismember("s", "a"), 1)
    same(r.zadd("z", {"a": 1, "b": 2.5}), 2)
    same([tuple(p) for p in r.zrange("z", 0, -1, withscores=True)], [("a", 1.0), ("b", 2.5)])
    same(r.zscore("z", "b"), 2.5)
    same(r.zrank("z", "b"), 1)
    same(r.geoadd("g", (13.361389, 38.115556, "Palermo")), 1)
    same(r.geosearch("g", longitude=15, latitude=37, radius=200, unit="km"), ["Palermo"])
    same(r.pfadd("p", "a", "b"), 1)
    same(r.pfcount("p"), 2)
    same(r.copy("k", "k2"), True)
    same(r.object("encoding", "a"), "int")
    same(r.type("z"), "zset")
    for n in range(50):
        r.set(f"scan:{n}", n)
    same(len(set(r.scan_iter("scan:*", count=7))), 50)
    same(dict(r.hscan_iter("h")), {"a": "1", "b": "2"})


def streams(r):
    r.delete("x")
    first = r.xadd("x", {"n": 1})
    r.xadd("x", {"n": 2})
    same(r.xlen("x"), 2)
    same(r.xrange("x")[0], (first, {"n": "1"}))
    same(r.xgroup_create("x", "g", "0"), True)
    got = r.xreadgroup("g", "c", {"x": ">"}, count=1)
    entries = got["x"][0] if isinstance(got, dict) else got[0][1]
    same(entries, [(first, {"n": "1"})])
    same(r.xpending("x", "g")["pending"], 1)
    same(r.xack("x", "g", first), 1)
    same(r.xinfo_stream("x")["length"], 2)
    same(r.xinfo_groups("x")[0]["name"], "g")
    same(len(r.xautoclaim("x", "g", "d", 0)[1]), 0)


def units(r):
    with r.pipeline() as p:
        p.set("n", 1).incr("n").get("n")
        same(p.execute(), [True, 2, "2"])
    with r.pipeline() as p:
        p.watch("n")
        value = int(p.get("n"))
        p.multi()
        p.set("n", value + 1)
        same(p.execute(), [True])
    with r.pipeline() as p:
        p.watch("n")
        r.set("n", 10)
        p.multi()
        p.set("n", 0)
        try:
            p.execute()
            raise AssertionError("a watched key changed and nobody noticed")
        except redis.WatchError:
            pass
    script = r.register_script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")
    r.script_flush()
    same(script(keys=["n"], args=["x"]), ["n", "x", 11])
    library = "#!lua name=pylib\nredis.register_function('f', function() return 7 end)"
    same(r.function_load(library, replace=True), "pylib")
    same(r.fcall("f", 0), 7)
    with r.lock("lock", timeout=10):
        same(r.exists("lock"), 1)
    same(r.exists("lock"), 0)
    try:
        r.lpush("n", 1)
        raise AssertionError("a number took a push")
    except redis.ResponseError as error:
        same(str(error), "WRONGTYPE Operation against a key holding the wrong kind of value")


def messages(r):
    with r.pubsub() as p:
        p.subscribe("c")
        p.psubscribe("d*")
        same(p.get_message(timeout=5)["type"], "subscribe")
        same(p.get_message(timeout=5)["type"], "psubscribe")
        same(r.publish("c", "hi"), 1)
        same(r.publish("door", "bell"), 1)
        same(p.get_message(timeout=5)["data"], "hi")
        same(p.get_message(timeout=5)["channel"], "door")
    box = []
    waiter = threading.Thread(target=lambda: box.append(r.blpop("later", 10)))
    waiter.start()
    r.rpush("later", "x")
    waiter.join(10)
    same(tuple(box[0]), ("later", "x"))


def server(r):
    same(r.info("server")["redis_version"].startswith("8.2."), True)
    same(r.config_get("maxmemory")["maxmemory"], "0")
    same(r.config_set("maxmemory-samples", 6), True)
    same(r.client_setname("py"), True)
    same(any(c["name"] == "py" for c in r.client_list()), True)
    same(r.client_id() > 0, True)
    same(r.command_count() > 200, True)
    same("get" in r.command(), True)
    same(r.memory_usage("k") > 0, True)
    same(r.acl_whoami(), "default")
    same(len(r.time()), 2)
    same(r.dbsize() > 0, True)
    same(isinstance(r.slowlog_get(), list), True)


def cached():
    """Client-side caching: the server must say when a key has changed."""
    r = redis.Redis(port=PORT, protocol=3, decode_responses=True, cache_config=CacheConfig())
    other = redis.Redis(port=PORT, decode_responses=True)
    other.set("cached", "1")
    same(r.get("cached"), "1")
    same(r.get("cached"), "1")
    other.set("cached", "2")
    for _ in range(100):
        if r.get("cached") == "2":
            break
    same(r.get("cached"), "2")


async def asynchronous(protocol):
    async with aredis.Redis(port=PORT, protocol=protocol, decode_responses=True) as r:
        await r.set("async", "1")
        same(sorted(await asyncio.gather(*[r.incr("async") for _ in range(20)])), list(range(2, 22)))
        async with r.pipeline(transaction=True) as p:
            same(await p.set("x1", 1).incr("x1").execute(), [True, 2])
        waiting = asyncio.create_task(r.blpop(["async-list"], 10))
        await asyncio.sleep(0.05)
        await r.rpush("async-list", "v")
        same(tuple(await waiting), ("async-list", "v"))


for protocol in (2, 3):
    client = redis.Redis(port=PORT, protocol=protocol, decode_responses=True, client_name="tests")
    for part in (data, streams, units, messages, server):
        part(client)
    asyncio.run(asynchronous(protocol))
    client.close()
cached()
print(f"redis-py {redis.__version__}: {checks} checks")

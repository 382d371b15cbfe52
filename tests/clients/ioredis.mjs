// Does ioredis work?   usage: node ioredis.mjs PORT (with NODE_PATH's packages beside it)
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_MODULES_FROM + "/");
const Redis = require("ioredis");
const port = Number(process.argv[2]);
let checks = 0;
const same = (got, expected) => {
  checks++;
  assert.deepEqual(got, expected);
};

const r = new Redis({ port, host: "127.0.0.1", connectionName: "ioredis", lazyConnect: true });
await r.connect();
await r.flushall();
same(await r.ping(), "PONG");
same(await r.set("k", "v", "EX", 100), "OK");
same(await r.get("k"), "v");
same(await r.getBuffer("k"), Buffer.from("v"));
same(await r.set("bin", Buffer.from([0, 255, 13, 10])), "OK");
same(await r.getBuffer("bin"), Buffer.from([0, 255, 13, 10]));
same(await r.hset("h", { a: 1, b: 2 }), 2);
same(await r.hgetall("h"), { a: "1", b: "2" });
same(await r.rpush("l", 1, 2, 3), 3);
same(await r.lrange("l", 0, -1), ["1", "2", "3"]);
same(await r.zadd("z", 1, "a", 2.5, "b"), 2);
same(await r.zrange("z", 0, -1, "WITHSCORES"), ["a", "1", "b", "2.5"]);
same(await r.sadd("s", "a", "b"), 2);
same((await r.smembers("s")).sort(), ["a", "b"]);

// Pipelines, transactions, auto-pipelining.
same(await r.pipeline().set("n", 1).incr("n").get("n").exec(), [[null, "OK"], [null, 2], [null, "2"]]);
same(await r.multi().incr("n").incr("n").exec(), [[null, 3], [null, 4]]);
const auto = new Redis({ port, enableAutoPipelining: true });
same(await Promise.all(Array.from({ length: 100 }, () => auto.incr("auto"))), Array.from({ length: 100 }, (_, i) => i + 1));
await auto.quit();
await r.watch("n");
const other = r.duplicate();
await other.set("n", 9);
same(await r.multi().set("n", 0).exec(), null);

// Scripts: EVALSHA first, EVAL when the server does not know it.
r.defineCommand("bump", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])" });
same(await r.bump("n", 5), 14);
same(await r.bump("n", 5), 19);
await assert.rejects(r.lpush("n", 1), { message: "WRONGTYPE Operation against a key holding the wrong kind of value" });

// Streams and groups.
const id = await r.xadd("x", "*", "n", "1");
same(await r.xgroup("CREATE", "x", "g", "0"), "OK");
same(await r.xreadgroup("GROUP", "g", "c", "STREAMS", "x", ">"), [["x", [[id, ["n", "1"]]]]]);
same(await r.xack("x", "g", id), 1);

// Messages and blocking.
const sub = r.duplicate();
same(await sub.subscribe("c", "d"), 2);
const heard = new Promise((done) => sub.on("message", (channel, message) => done([channel, message])));
same(await r.publish("c", "hi"), 1);
same(await heard, ["c", "hi"]);
await sub.unsubscribe();
const waiting = other.blpop("later", 10);
await r.rpush("later", "x");
same(await waiting, ["later", "x"]);

for (let n = 0; n < 50; n++) await r.set(`scan:${n}`, n);
const found = new Set();
for await (const keys of r.scanStream({ match: "scan:*", count: 7 })) keys.forEach((key) => found.add(key));
same(found.size, 50);
same((await r.client("LIST")).includes("name=ioredis"), true);
same((await r.info("server")).includes("redis_version:8.2."), true);
await Promise.all([r.quit(), other.quit(), sub.quit()]);
console.log(`ioredis: ${checks} checks`);

// Does node-redis work, with RESP2 and RESP3?   usage: node node_redis.mjs PORT
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_MODULES_FROM + "/");
const { createClient, defineScript } = require("redis");
const port = Number(process.argv[2]);
let checks = 0;
const same = (got, expected) => {
  checks++;
  assert.deepEqual(got, expected);
};

for (const RESP of [2, 3]) {
  const options = { socket: { port, host: "127.0.0.1" }, name: "node-redis", database: 1, RESP };
  const r = createClient(options);
  r.on("error", (error) => { throw error; });
  await r.connect();
  await r.flushAll();
  same(await r.ping(), "PONG");
  same(await r.set("k", "v", { EX: 100 }), "OK");
  same(await r.get("k"), "v");
  same(await r.hSet("h", { a: "1", b: "2" }), 2);
  same({ ...(await r.hGetAll("h")) }, { a: "1", b: "2" });
  same(await r.rPush("l", ["1", "2", "3"]), 3);
  same(await r.lRange("l", 0, -1), ["1", "2", "3"]);
  same(await r.zAdd("z", [{ score: 1, value: "a" }, { score: 2.5, value: "b" }]), 2);
  same(await r.zRangeWithScores("z", 0, -1), [{ value: "a", score: 1 }, { value: "b", score: 2.5 }]);
  same(await r.zScore("z", "b"), 2.5);
  same(await r.sAdd("s", ["a", "b"]), 2);
  same([...(await r.sMembers("s"))].sort(), ["a", "b"]);
  same(await r.multi().set("n", 1).incr("n").get("n").exec(), ["OK", 2, "2"]);
  same(await Promise.all(Array.from({ length: 100 }, () => r.incr("auto"))), Array.from({ length: 100 }, (_, i) => i + 1));
  same(await r.eval("return {KEYS[1], ARGV[1]}", { keys: ["k"], arguments: ["a"] }), ["k", "a"]);
  await assert.rejects(r.lPush("n", "1"), { message: "WRONGTYPE Operation against a key holding the wrong kind of value" });
  const id = await r.xAdd("x", "*", { n: "1" });
  same(await r.xGroupCreate("x", "g", "0"), "OK");
  const read = await r.xReadGroup("g", "c", { key: "x", id: ">" });
  same(JSON.stringify(read).includes(id), true);
  same(await r.xAck("x", "g", id), 1);

  const sub = r.duplicate();
  await sub.connect();
  const heard = new Promise((done) => { void sub.subscribe("c", (message, channel) => done([channel, message])).then(() => r.publish("c", "hi")); });
  same(await heard, ["c", "hi"]);
  await sub.unsubscribe();
  const blocked = r.duplicate();
  await blocked.connect();
  const waiting = blocked.blPop("later", 10);
  await r.rPush("later", "x");
  same({ ...(await waiting) }, { key: "later", element: "x" });
  let found = 0;
  for await (const keys of r.scanIterator({ COUNT: 3 })) found += [].concat(keys).length;
  same(found >= (await r.dbSize()), true);
  same((await r.info("server")).includes("redis_version:8.2."), true);
  same(await r.clientGetName(), "node-redis");
  for (const client of [r, sub, blocked]) await client.close();
}
console.log(`node-redis: ${checks} checks`);

import assert from "node:assert/strict";
import { test } from "node:test";

import { follow } from "../../chatsession/static/chatsession/follow.js";

const refused = (status) => Object.assign(new Error(), { status });
const lost = () => new TypeError("Failed to fetch");
const aborted = () => Object.assign(new Error(), { name: "AbortError" });

/** Follow by a script: what each request meets, a list of frame types or an error. */
async function run(script, tries = 3) {
  const seen = [];
  const next = (kind) => async () => {
    seen.push(kind);
    const answer = script.shift();
    if (answer instanceof Error) throw answer;
    return answer === 204 ? { status: 204 } : { status: 200, body: answer };
  };
  const result = await follow({
    ask: next("ask"),
    resume: next("resume"),
    tries,
    read: (body) => body.map((type) => ({ type })),
    wait: async (ms) => seen.push(ms),
    onOpen: () => seen.push("open"),
    onFrame: ({ type }) => seen.push(type),
    onLost: () => seen.push("lost"),
  }).catch((error) => error);
  return { result, seen: seen.join(" ") };
}

test("an answer is read to its end", async () => {
  const { result, seen } = await run([["start", "text-delta", "finish"]]);
  assert.equal(result, true);
  assert.equal(seen, "ask open start text-delta finish");
});

test("a stop and an error are ends too", async () => {
  for (const end of ["abort", "error"]) assert.equal((await run([["start", end]])).result, true);
});

test("a body that breaks off is taken up again, after longer and longer pauses", async () => {
  const { seen } = await run([["start"], lost(), lost(), ["start", "finish"]]);
  assert.equal(seen, "ask open start lost 500 resume lost 1000 resume lost 2000 resume start finish");
});

test("a request that got no answer is sent again, a few times", async () => {
  assert.equal((await run([lost(), ["finish"]])).seen, "ask lost 1000 ask open finish");
  const { result, seen } = await run([lost(), lost(), lost()]);
  assert.ok(result instanceof TypeError);
  assert.equal(seen, "ask lost 1000 ask lost 2000 ask");
});

test("what may be sent only once is", async () => {
  assert.equal((await run([lost()], 1)).seen, "ask");
});

test("pauses end at ten seconds, and attempts to resume never do", async () => {
  const { result, seen } = await run([["start"], ...Array.from({ length: 9 }, lost), ["finish"]]);
  assert.equal(result, true);
  assert.equal(seen.match(/ 10000/g).length, 5);
});

test("a refusal is one, and a busy server only where the answer is under way", async () => {
  for (const status of [400, 404, 429, 503]) assert.equal((await run([refused(status)])).result.status, status);
  for (const status of [429, 503]) assert.equal((await run([["start"], refused(status), ["finish"]])).result, true);
  for (const status of [403, 404]) assert.equal((await run([["start"], refused(status)])).result.status, status);
});

test("what the reader breaks off is not taken up again", async () => {
  assert.equal((await run([["start"], aborted()])).result.name, "AbortError");
});

test("nothing to follow any more is told", async () => {
  const { result, seen } = await run([["start"], 204]);
  assert.equal(result, false);
  assert.equal(seen, "ask open start lost 500 resume");
});

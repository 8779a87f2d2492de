// npm `eventsource`, the browser's EventSource, follows an answer over a connection that breaks.
import assert from "node:assert/strict";
import { test } from "node:test";

import { EventSource } from "eventsource";

import { breakingWay, newId, PATIENCE, SITE, textOf, visit } from "./visitor.mjs";

/** All that an EventSource is sent until it closes for good, and what it said when it reconnected. */
function read(visitor, url) {
  return new Promise((resolve) => {
    const seen = { frames: [], ids: [], cursors: [] };
    const fetch = (input, init) => {
      seen.cursors.push(init.headers["Last-Event-ID"]);
      return visitor.fetch(input, init);
    };
    const source = new EventSource(url, { fetch });
    source.onmessage = ({ data, lastEventId }) => {
      if (data === "[DONE]") return;
      seen.frames.push(JSON.parse(data));
      seen.ids.push(lastEventId);
    };
    source.onerror = ({ code }) => {
      if (source.readyState === EventSource.CLOSED) resolve({ ...seen, code });
    };
  });
}

const deltas = (frames) => frames.map(({ delta }) => delta ?? "").join("");

test("a broken connection costs nothing, and the end closes the source", PATIENCE, async () => {
  const visitor = await visit();
  const id = newId();
  const way = await breakingWay(1500);
  const answer = await visitor.send(id, "/slow 40");
  const seen = await read(visitor, `${way.site}/chat/api/chat/${id}/stream`);
  await answer.text();

  assert.equal(seen.code, 204);
  assert.equal(seen.cursors[0], undefined);
  assert.match(seen.cursors[1], /^[0-9a-f]{32}:\d+$/);
  assert.ok(way.taken >= 2);
  assert.equal(new Set(seen.ids).size, seen.ids.length);
  assert.equal(seen.frames.filter(({ type }) => type === "start").length, 1);
  assert.equal(seen.frames.at(-1).type, "finish");
  const stored = (await visitor.stored(id)).messages.at(-1);
  assert.equal(deltas(seen.frames), textOf(stored));
});

test("an idle conversation closes the source at once", PATIENCE, async () => {
  const visitor = await visit();
  const id = newId();
  await (await visitor.send(id, "/echo done")).text();
  const { code, frames } = await read(visitor, `${SITE}/chat/api/chat/${id}/stream`);
  assert.deepEqual([code, frames], [204, []]);
});

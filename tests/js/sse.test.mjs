import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser, readFrames } from "../../chatsession/static/chatsession/sse.js";

const STREAM = [
  "\u{feff}id: r:1\nretry: 2000\ndata: {\"type\":\"start\"}\n\n",
  ": ping\n\n",
  "id: r:9\r\ndata: {\"delta\":\"花子🎌\"}\r\n\r\n",
  "event: x\rdata:a\rdata: b\r\r",
  "data: [DONE]\n\n",
  "data: {\"never\":1}\n\n",
].join("");

function bodyOf(bytes, size) {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, (at += size)));
    },
  });
}

test("an event is complete at its empty line, in whatever pieces it came", () => {
  const whole = new EventParser().push(STREAM.slice(1));
  assert.equal(whole.length, 5);
  assert.deepEqual(whole[1], { id: "r:9", type: "message", data: '{"delta":"花子🎌"}' });
  assert.deepEqual(whole[2], { id: "", type: "x", data: "a\nb" });
  for (let size = 1; size < 9; size++) {
    const parser = new EventParser();
    const events = [];
    for (let at = 1; at < STREAM.length; at += size) events.push(...parser.push(STREAM.slice(at, at + size)));
    assert.deepEqual(events, whole);
  }
});

test("comments and blocks without data are no events", () => {
  assert.deepEqual(new EventParser().push(": ping\n\nid: 3\n\nretry: 5\n\n"), []);
});

test("an unfinished event is not given out", () => {
  assert.deepEqual(new EventParser().push('data: {"type":"finish"}\n'), []);
});

test("frames end at [DONE], and characters cut by the network are whole", async () => {
  const bytes = new TextEncoder().encode(STREAM.replace("event: x\rdata:a\rdata: b\r\r", ""));
  for (const size of [1, 2, 3, 7, 1000]) {
    const frames = [];
    for await (const frame of readFrames(bodyOf(bytes, size))) frames.push(frame);
    assert.deepEqual(frames, [{ type: "start" }, { delta: "花子🎌" }]);
  }
});

test("a body that breaks off just ends", async () => {
  const frames = [];
  const bytes = new TextEncoder().encode('data: {"a":1}\n\ndata: {"b"');
  for await (const frame of readFrames(bodyOf(bytes, 4))) frames.push(frame);
  assert.deepEqual(frames, [{ a: 1 }]);
});

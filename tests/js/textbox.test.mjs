import assert from "node:assert/strict";
import { test } from "node:test";

import { isDone } from "../../chatsession/static/chatsession/textbox.js";

const enter = { key: "Enter", timeStamp: 1000 };

test("Enter is done", () => {
  assert.ok(isDone(enter));
});

test("Shift and Enter is a line, and other keys are text", () => {
  assert.ok(!isDone({ ...enter, shiftKey: true }));
  assert.ok(!isDone({ ...enter, key: "a" }));
});

test("an Enter that somebody else took is none", () => {
  assert.ok(!isDone({ ...enter, defaultPrevented: true }));
});

test("an input method's Enter is its own, and so is the one with which Safari reports its end", () => {
  assert.ok(!isDone({ ...enter, isComposing: true }));
  assert.ok(!isDone({ ...enter, keyCode: 229 }));
  assert.ok(!isDone(enter, 990));
  assert.ok(isDone(enter, 900));
});

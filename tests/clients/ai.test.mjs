// npm `ai` (useChat without React) against the API. CHAT_CLIENT names the version: ai5 or ai6.
import assert from "node:assert/strict";
import { test } from "node:test";

import { breakingWay, eventually, newId, PATIENCE, SITE, textOf, visit } from "./visitor.mjs";

const { AbstractChat, DefaultChatTransport } = await import(process.env.CHAT_CLIENT);

class State {
  status = "ready";
  error = undefined;
  constructor(messages) {
    this.messages = messages;
  }
  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => (this.messages = this.messages.with(index, structuredClone(message)));
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor({ visitor, id = newId(), messages = [], site = SITE }) {
    const transport = new DefaultChatTransport({ api: `${site}/chat/api/chat`, fetch: visitor.fetch });
    super({ id, transport, state: new State(messages) });
  }
  get answer() {
    return textOf(this.messages.at(-1));
  }
  /** The conversation as its messages' texts; the same on both sides, or something was lost or doubled. */
  get texts() {
    return this.messages.map(textOf);
  }
  writing = (text) => eventually(() => this.lastMessage?.role === "assistant" && this.answer.includes(text));
}

const storedTexts = async (visitor, id) => (await visitor.stored(id)).messages.map(textOf);

test("a conversation of several turns is remembered by the server", PATIENCE, async () => {
  const visitor = await visit();
  const chat = new Chat({ visitor });
  await chat.sendMessage({ text: "My name is Ann" });
  assert.equal(chat.status, "ready");
  await chat.sendMessage({ text: "What is my name?" });
  assert.match(chat.answer, /Ann/);
  assert.deepEqual(chat.texts, await storedTexts(visitor, chat.id));
  const { metadata } = chat.messages.at(-1);
  assert.equal(metadata.status, "complete");
  assert.ok(metadata.usage.outputTokens > 0);
});

test("regenerate puts another answer in the place of the last", PATIENCE, async () => {
  const visitor = await visit();
  const chat = new Chat({ visitor });
  await chat.sendMessage({ text: "/echo once more" });
  const first = chat.lastMessage.id;
  await chat.regenerate();
  assert.deepEqual(chat.texts, ["/echo once more", "once more"]);
  assert.notEqual(chat.lastMessage.id, first);
  await chat.regenerate({ messageId: chat.lastMessage.id });
  assert.equal((await visitor.stored(chat.id)).messages.at(-1).siblings.length, 3);
});

test("an edit makes a branch, twice over", PATIENCE, async () => {
  const visitor = await visit();
  const chat = new Chat({ visitor });
  await chat.sendMessage({ text: "/echo one" });
  await chat.sendMessage({ text: "/echo two" });
  const messageId = chat.messages[0].id;
  for (const text of ["uno", "eins"]) {
    await chat.sendMessage({ text: `/echo ${text}`, messageId });
    assert.deepEqual(chat.texts, [`/echo ${text}`, text]);
    assert.deepEqual(await storedTexts(visitor, chat.id), chat.texts);
  }
  assert.equal((await visitor.stored(chat.id)).messages[0].siblings.length, 3);
  await chat.sendMessage({ text: "/echo drei" });
  assert.deepEqual(await storedTexts(visitor, chat.id), ["/echo eins", "eins", "/echo drei", "drei"]);
});

for (const loaded of ["nothing", "the question", "half of the answer"]) {
  test(`another instance that has loaded ${loaded} resumes in mid-answer`, PATIENCE, async () => {
    const visitor = await visit();
    const one = new Chat({ visitor });
    const sent = one.sendMessage({ text: "/slow 30" });
    await one.writing(" ");
    await eventually(async () => (await storedTexts(visitor, one.id)).at(-1) !== "");
    const { messages } = await visitor.stored(one.id);
    const kept = { nothing: 0, "the question": 1, "half of the answer": 2 }[loaded];
    const two = new Chat({ visitor, id: one.id, messages: messages.slice(0, kept) });
    await two.resumeStream();
    await sent;
    assert.equal(two.status, "ready");
    assert.equal(two.answer, one.answer);
    assert.equal(two.messages.length, Math.max(kept, loaded === "nothing" ? 1 : 2));
    assert.equal(two.lastMessage.id, one.lastMessage.id);
    assert.equal((await storedTexts(visitor, one.id)).at(-1), one.answer);
  });
}

test("an instance whose connection broke in mid-answer resumes", PATIENCE, async () => {
  const visitor = await visit();
  const way = await breakingWay(2500);
  const chat = new Chat({ visitor, site: way.site });
  await chat.sendMessage({ text: "/slow 40" });
  assert.equal(chat.status, "error");
  const broken = chat.answer;
  await chat.resumeStream();
  assert.equal(chat.status, "ready");
  assert.ok(chat.answer.length > broken.length);
  assert.deepEqual(chat.texts, await storedTexts(visitor, chat.id));
});

test("there is nothing to resume when nothing is written: 204", PATIENCE, async () => {
  const visitor = await visit();
  const one = new Chat({ visitor });
  await one.sendMessage({ text: "/echo done" });
  const two = new Chat({ visitor, id: one.id, messages: one.messages });
  await two.resumeStream();
  assert.equal(two.status, "ready");
  assert.deepEqual(two.texts, one.texts);
});

test("stop ends the answer for every reader and keeps what is written", PATIENCE, async () => {
  const visitor = await visit();
  const chat = new Chat({ visitor });
  const sent = chat.sendMessage({ text: "/stall" });
  await chat.writing(" ");
  const { stopped, status } = await visitor.stop(chat.id);
  await sent;
  assert.deepEqual([stopped, status, chat.status], [true, "stopped", "ready"]);
  const { messages, activeRun } = await visitor.stored(chat.id);
  assert.deepEqual([messages.at(-1).status, activeRun], ["stopped", null]);
  assert.deepEqual(messages.map(textOf), chat.texts);
  assert.equal((await visitor.stop(chat.id)).stopped, false);
});

test("an answer that fails says why, keeps its text, and can be tried again", PATIENCE, async () => {
  const visitor = await visit();
  const chat = new Chat({ visitor });
  await chat.sendMessage({ text: "/error" });
  assert.equal(chat.status, "error");
  assert.equal(chat.error.message, "This error was asked for with /error.");
  assert.deepEqual(chat.texts, await storedTexts(visitor, chat.id));
  await chat.regenerate();
  assert.equal((await visitor.stored(chat.id)).messages.at(-1).siblings.length, 2);
});

test("one answer at a time: 409", PATIENCE, async () => {
  const visitor = await visit();
  const one = new Chat({ visitor });
  const sent = one.sendMessage({ text: "/stall" });
  await one.writing(" ");
  const two = new Chat({ visitor, id: one.id });
  await two.sendMessage({ text: "me too" });
  assert.equal(two.status, "error");
  assert.equal(JSON.parse(two.error.message).error.code, "run_active");
  await visitor.stop(one.id);
  await sent;
  assert.equal((await visitor.stored(one.id)).messages.length, 2);
});

test("too many answers at once: 429, and nothing is stored", PATIENCE, async () => {
  const visitor = await visit();
  const limit = Number(process.env.CHAT_STREAMS);
  const chats = Array.from({ length: limit }, () => new Chat({ visitor }));
  const sent = chats.map((chat) => chat.sendMessage({ text: "/stall" }));
  await Promise.all(chats.map((chat) => chat.writing(" ")));
  const refused = new Chat({ visitor });
  await refused.sendMessage({ text: "me too" });
  assert.equal(refused.status, "error");
  assert.equal(JSON.parse(refused.error.message).error.code, "too_many_streams");
  await Promise.all(chats.map((chat) => visitor.stop(chat.id)));
  await Promise.all(sent);
  assert.equal((await visitor.stored(refused.id)).error.code, "not_found");
});

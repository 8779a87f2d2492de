// The chat page: sends, follows what is being written, and keeps page and server in step.
// The other modules are named by links, so this works with hashed file names and without inline script.

const load = (link) => import(link.href).then((module) => [link.dataset.module, module]);
const links = [...document.querySelectorAll("link[data-module]")];
const modules = Object.fromEntries(await Promise.all(links.map(load)));
const { Api, Refusal, newId } = modules.api;

const texts = document.body.dataset;
const pageOf = (id) => texts.conversationPage.replace("--id--", () => encodeURIComponent(id));
const status = document.querySelector("[role=status]");
const alert = document.querySelector("[data-alert]");
const form = document.querySelector("[data-composer]");
const others = new BroadcastChannel("chatsession");

/** Attempts at sending what can be sent twice without harm. */
const TRIES = 6;

let conversation = texts.conversation;
/** Whether the server has it: a new one gets its ID before. */
let stored = Boolean(conversation);
/** What is under way: {turn, abort}; null while nothing is written. */
let current = null;
/** The page is being brought up to date; and whether other tabs did more in the meantime. */
let syncing = false;
let stale = false;

const api = new Api(texts.page, { cookie: texts.csrfCookie, header: texts.csrfHeader });
const { attach } = modules.textbox;
const transcript = new modules.transcript.Transcript({
  scroller: document.querySelector("[data-transcript]"),
  turns: document.querySelector("[data-turns]"),
  newest: document.querySelector("[data-newest]"),
  texts,
  Answer: modules.answer.Answer,
  on: { again, edit, version },
});
const composer = new modules.composer.Composer(form, { conversation, onSend: send, onStop: stop, newId, attach });
const sidebar = new modules.sidebar.Sidebar({ api, page: texts.page, pageOf, texts, onError: tell });

/** A new question. It is put back into the box if the server does not take it. */
async function send(text, id) {
  if (!conversation) nameConversation();
  const question = transcript.addQuestion(text, id);
  const undo = () => {
    transcript.cut(question);
    composer.putBack(text, id);
  };
  await ask(questionOf(text, id), transcript.addAnswer(), { undo, onOpen: () => composer.accepted(id) });
}

/** Another answer to the same question: a version beside the one there is. */
async function again(turn) {
  if (current) return;
  const restore = transcript.cut(turn);
  const answer = transcript.addAnswer();
  answer.focus({ preventScroll: true });
  const undo = () => {
    restore();
    turn.querySelector("[name=again]").focus();
  };
  // Only once: sent twice, it would be two answers.
  const body = { trigger: "regenerate-message", messageId: turn.dataset.id };
  if (await ask(body, answer, { undo, tries: 1 })) await refresh().catch(tell);
}

/** Open a question for editing. What cannot be sent yet stays open. */
function edit(turn, text) {
  const onSave = (edited) => (current ? edit(turn, edited) : save(turn, edited));
  modules.editor.edit(turn, { text, attach, onSave });
}

/** Another version of a question: the same ID with another text. */
async function save(turn, text) {
  const id = turn.dataset.id;
  const restore = transcript.cut(turn);
  const question = transcript.addQuestion(text, id);
  const answer = transcript.addAnswer();
  question.focus({ preventScroll: true });
  const undo = () => {
    restore();
    edit(turn, text);
  };
  // Shown by its ID: a text that an earlier version had is not stored anew.
  if (await ask(questionOf(text, id), answer, { undo })) await show(answer.dataset.id).catch(tell);
}

/** Show another version of a turn, and the branch behind it. */
async function version(id, direction) {
  if (current) return;
  tell("");
  try {
    await show(id);
    say(transcript.focusVersion(id, direction));
  } catch (error) {
    tell(error);
  }
}

async function show(leaf) {
  await api.request(`conversations/${encodeURIComponent(conversation)}`, { method: "PATCH", body: { leaf } });
  await refresh();
  others.postMessage(conversation);
}

const questionOf = (text, id) => ({ message: { id, role: "user", parts: [{ type: "text", text }] } });

/** Whether the turn was taken and followed to its end; `undo()` takes back what is shown of a refused one. */
async function ask(body, turn, { undo, onOpen = () => {}, tries = TRIES }) {
  tell("");
  transcript.toEnd();
  const post = (signal) => api.request("chat", { method: "POST", body: { id: conversation, existing: stored, ...body }, signal });
  let taken = false;
  const opened = () => {
    taken = true;
    accepted();
    onOpen();
  };
  try {
    await receive(turn, post, { tries, onOpen: opened });
    others.postMessage(conversation);
    return true;
  } catch (error) {
    if (!taken) undo();
    if (error.status === 404) return beginAnew();
    tell(error);
    // What was sent once may have arrived all the same.
    if (taken || tries === 1 || error.code === "run_active") await sync();
    return false;
  }
}

/** The conversation is gone, in words; what is typed goes along if the visitor wants to begin another one. */
function beginAnew() {
  const link = document.createElement("a");
  Object.assign(link, { href: texts.page, textContent: texts.textNewChat, className: "text-button" });
  link.addEventListener("click", () => {
    const edited = document.querySelector(".editor textarea");
    if (edited) composer.putBack(edited.value, newId());
    composer.moveTo("");
  });
  alert.replaceChildren(texts.textGone, link);
  return false;
}

function accepted() {
  if (!stored) {
    stored = true;
    history.replaceState(null, "", pageOf(conversation));
    form.action = pageOf(conversation);
  }
  sidebar.update(conversation).catch(() => {});
  others.postMessage(conversation);
}

function nameConversation() {
  conversation = newId();
  composer.moveTo(conversation);
}

/** Follow an answer to its end, over lost connections. Throws what it was refused with. */
async function receive(turn, open, { tries = TRIES, onOpen = () => {} } = {}) {
  const { signal } = (current = { turn, abort: new AbortController() }).abort;
  composer.busy = true;
  say(texts.textGenerating);
  try {
    const whole = await modules.follow.follow({
      ask: () => open(signal),
      resume: () => stream(signal),
      tries,
      read: modules.sse.readFrames,
      wait: (ms) => pause(ms, signal),
      onOpen,
      onFrame: (frame) => written(turn, frame),
      onLost: () => say(transcript.note(turn, texts.textReconnecting)),
    });
    if (!whole) await refresh();
  } finally {
    current = null;
    composer.busy = false;
    say("");
  }
  announce(turn);
  if (stale) sync();
}

const stream = (signal) => api.request(`chat/${encodeURIComponent(conversation)}/stream`, { signal });

function written(turn, frame) {
  transcript.apply(turn, frame);
  transcript.follow();
  if (frame.type === "data-queue") say(turn.querySelector("[data-note]").textContent);
  else if (turn.hasAttribute("aria-busy")) say(texts.textGenerating);
}

/** To screen readers, when they have a moment; nothing is said twice. */
function say(text) {
  if (status.textContent !== text) status.textContent = text;
}

function announce(turn) {
  if (turn.dataset.status === "error" || !turn.isConnected) return;
  say(`${turn.dataset.status === "stopped" ? texts.textStopped : texts.textDone}\n${transcript.spoken(turn)}`);
}

async function stop() {
  if (!current) return;
  const { turn, abort } = current;
  if (!turn.dataset.run) return abort.abort();
  try {
    const path = `chat/${encodeURIComponent(conversation)}/stop`;
    await api.request(path, { method: "POST", body: { runId: turn.dataset.run } });
  } catch (error) {
    tell(error);
  }
}

/** Show the turns as the server renders them now. */
async function refresh() {
  const page = await api.document(pageOf(conversation) + location.search);
  const turns = page.querySelector("[data-turns]");
  if (!turns) return location.reload(); // somebody else's page: a login, say
  transcript.show(turns);
}

/** Catch up with what other tabs and devices did: further turns, an answer under way, a logout. */
async function sync() {
  if (!stored || current || syncing || document.visibilityState === "hidden") return;
  stale = false;
  syncing = true;
  try {
    await refresh();
    transcript.follow();
  } catch (error) {
    if (error.status === 404) leave();
  } finally {
    syncing = false;
  }
  await followOpen();
  if (stale && !current) await sync();
}

/** The conversation is no longer this visitor's; what is in the box goes along to a new one. */
function leave() {
  composer.moveTo("");
  location.replace(texts.page);
}

async function followOpen() {
  const turn = transcript.open();
  if (!turn || current) return;
  try {
    await receive(turn, stream, { tries: Infinity });
  } catch (error) {
    tell(error);
    if (error.status === 404) leave();
  }
}

function explain(error) {
  if (error.name === "AbortError") return "";
  return error instanceof Refusal ? error.message || texts.textFailed : texts.textUnreachable;
}

function tell(error) {
  alert.textContent = error ? explain(error) : "";
}

/** Until the time is over, the network is back or the reader has enough. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
    window.addEventListener("online", resolve, { once: true, signal });
    signal.addEventListener("abort", resolve);
  });
}

others.addEventListener("message", ({ data }) => {
  if (data !== conversation) sidebar.update(data, { current: false }).catch(() => {});
  else if (current || syncing) stale = true;
  else sync();
});
document.addEventListener("visibilitychange", () => sync());
window.addEventListener("focus", () => sync());
window.addEventListener("online", () => sync());
window.addEventListener("pageshow", (event) => event.persisted && sync());
document.addEventListener("keydown", (event) => {
  const elsewhere = event.isComposing || event.defaultPrevented || document.querySelector("dialog[open]");
  if (event.key === "Escape" && !elsewhere) stop();
});

document.body.classList.toggle("no-clipboard", !navigator.clipboard);
texts.ready = ""; // for tests: the page is loaded before its modules are
await followOpen();

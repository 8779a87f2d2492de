// The chat page: sends, follows what is being written, and keeps page and server in step.
// The other modules are named by links, so this works with hashed file names and without inline script.

const load = (link) => import(link.href).then((module) => [link.dataset.module, module]);
const links = [...document.querySelectorAll("link[data-module]")];
const modules = Object.fromEntries(await Promise.all(links.map(load)));
const { Api, Refusal, newId } = modules.api;
const { readFrames } = modules.sse;

const texts = document.body.dataset;
const pageOf = (id) => texts.conversationPage.replace("--id--", () => encodeURIComponent(id));
const status = document.querySelector("[role=status]");
const alert = document.querySelector("[data-alert]");
const form = document.querySelector("[data-composer]");
const others = new BroadcastChannel("chatsession");

/** First and longest pause before another attempt, in ms; and how many attempts there are at sending. */
const PAUSE = { first: 500, longest: 10_000, sends: 6 };

let conversation = texts.conversation;
/** What is under way: {turn, question, abort}; null while nothing is written. */
let current = null;

const api = new Api(texts.page, { cookie: texts.csrfCookie, header: texts.csrfHeader });
const transcript = new modules.transcript.Transcript({
  scroller: document.querySelector("[data-transcript]"),
  turns: document.querySelector("[data-turns]"),
  newest: document.querySelector("[data-newest]"),
  texts,
  onRetry: retry,
});
const composer = new modules.composer.Composer(form, { conversation, onSend: send, onStop: stop, newId });
const sidebar = new modules.sidebar.Sidebar({ api, page: texts.page, pageOf, texts, onError: tell });

/** A new question. It is put back into the box if the server does not take it. */
async function send(text, id) {
  tell("");
  if (!conversation) nameConversation();
  const question = transcript.addQuestion(text, id);
  const turn = transcript.addAnswer();
  transcript.toEnd();
  await ask({ text, id, question, turn });
}

/** The same question under the same ID: the server follows, replays or answers anew. */
async function retry(turn) {
  const question = turn.previousElementSibling;
  if (current || question?.dataset.role !== "user") return;
  tell("");
  const text = question.querySelector("[data-body]").textContent;
  transcript.reset(turn);
  await ask({ text, id: question.dataset.id, question: null, turn });
}

async function ask({ text, id, question, turn }) {
  const message = { id, role: "user", parts: [{ type: "text", text }] };
  const body = { id: conversation, message };
  const post = (signal) => api.request("chat", { method: "POST", body, signal });
  try {
    await receive(turn, post, () => accepted(id));
  } catch (error) {
    if (question) {
      question.remove();
      turn.remove();
      composer.putBack(text, id);
    } else {
      transcript.end(turn, "error", explain(error));
    }
    tell(error);
    if (error.code === "run_active") await sync();
  }
}

function accepted(id) {
  composer.accepted(id);
  if (location.href !== new URL(pageOf(conversation), location.href).href) {
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

/** Follow an answer to its end, over lost connections. Throws what the first request was refused with. */
async function receive(turn, open, onOpen = () => {}) {
  const abort = new AbortController();
  current = { turn, abort };
  composer.busy = true;
  status.textContent = texts.textGenerating;
  try {
    await untilEnd(turn, open, onOpen, abort.signal);
  } finally {
    current = null;
    composer.busy = false;
    status.textContent = "";
  }
  announce(turn);
  others.postMessage(conversation);
}

async function untilEnd(turn, open, onOpen, signal) {
  for (let attempt = 1, opened = false; ; attempt++) {
    try {
      const response = await open(signal);
      if (!opened) onOpen();
      [opened, attempt] = [true, 0];
      open = (again) => api.request(`chat/${encodeURIComponent(conversation)}/stream`, { signal: again });
      if (response.status === 204) return await showStored();
      if (await consume(turn, response.body)) return;
    } catch (error) {
      const final = signal.aborted || error instanceof Refusal || (!opened && attempt >= PAUSE.sends);
      if (final) throw error;
    }
    transcript.note(turn, texts.textReconnecting);
    await pause(Math.min(PAUSE.first * 2 ** attempt, PAUSE.longest));
  }
}

/** Whether the stream came to its proper end. */
async function consume(turn, body) {
  let ended = false;
  for await (const frame of readFrames(body)) {
    transcript.apply(turn, frame);
    transcript.follow();
    ended ||= ["finish", "abort", "error"].includes(frame.type);
  }
  return ended;
}

function announce(turn) {
  if (turn.dataset.status === "error" || !turn.isConnected) return;
  const end = turn.dataset.status === "stopped" ? texts.textStopped : texts.textDone;
  status.textContent = `${end}\n${transcript.spoken(turn)}`;
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

const stored = () => api.json(`conversations/${encodeURIComponent(conversation)}/messages`);

async function showStored() {
  transcript.show((await stored()).messages);
}

/** Catch up with what other tabs did: further turns, an answer under way, a logout. */
async function sync() {
  if (!conversation || current) return;
  try {
    const { messages, leaf, activeRun } = await stored();
    if (current) return;
    if (leaf !== transcript.last() || activeRun) transcript.show(messages);
    if (activeRun) await followOpen();
  } catch (error) {
    if (error.status === 404) leave();
  }
}

/** The conversation is no longer this visitor's; what is in the box goes along to a new one. */
function leave() {
  composer.moveTo("");
  location.replace(texts.page);
}

async function followOpen() {
  const turn = transcript.open();
  if (!turn || current) return;
  const path = `chat/${encodeURIComponent(conversation)}/stream`;
  try {
    await receive(turn, (signal) => api.request(path, { signal }));
  } catch (error) {
    tell(error);
  }
}

function explain(error) {
  if (error.name === "AbortError") return "";
  return error instanceof Refusal ? error.message || texts.textFailed : texts.textUnreachable;
}

function tell(error) {
  alert.textContent = error ? explain(error) : "";
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

others.addEventListener("message", ({ data }) => {
  if (data === conversation) sync();
  else sidebar.update(data, { current: false }).catch(() => {});
});
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && sync());
window.addEventListener("pageshow", (event) => event.persisted && sync());
document.addEventListener("keydown", (event) => {
  const elsewhere = event.isComposing || event.defaultPrevented || document.querySelector("dialog[open]");
  if (event.key === "Escape" && !elsewhere) stop();
});

document.body.classList.toggle("no-clipboard", !navigator.clipboard);
await followOpen();

// The turns: built from the page's templates, filled from messages or from the frames of a stream.

const WEB = /^https?:\/\//i;

export class Transcript {
  /** `texts` are the page's translated texts; `onRetry(turn)` sends the turn's question again. */
  constructor({ scroller, turns, newest, texts, onRetry }) {
    Object.assign(this, { scroller, turns, newest, texts, onRetry });
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    newest.addEventListener("click", () => this.toEnd());
    turns.addEventListener("click", (event) => this.#click(event));
    this.stuck = true;
    for (const listing of turns.querySelectorAll("pre")) this.#addCopy(listing);
    this.toEnd();
  }

  addQuestion(text, id) {
    document.querySelector("[data-welcome]")?.remove();
    const turn = this.#make("user-turn");
    turn.dataset.id = id;
    turn.querySelector("[data-body]").textContent = text;
    return turn;
  }

  addAnswer() {
    return this.reset(this.#make("assistant-turn"));
  }

  /** Replace everything by the API's messages; what a tab elsewhere added is then here too. */
  show(messages) {
    const earlier = this.turns.querySelector(".earlier");
    this.turns.replaceChildren(...(earlier ? [earlier] : []));
    for (const message of messages) {
      if (message.role === "user") this.addQuestion(textOf(message), message.id);
      else this.#fill(this.#make("assistant-turn"), message);
    }
    this.follow();
  }

  /** The answer that is being written. */
  open() {
    return this.turns.querySelector("[data-role=assistant][aria-busy=true]");
  }

  last() {
    return this.turns.lastElementChild?.dataset.id ?? null;
  }

  /** An answer as it is before its first frame. */
  reset(turn) {
    const answer = new Answer(turn);
    turn.dataset.status = "streaming";
    turn.setAttribute("aria-busy", "true");
    this.note(turn, "");
    turn.querySelector("[data-error]").textContent = "";
    answer.clear();
    return turn;
  }

  /** Put one frame of the stream into its turn. */
  apply(turn, frame) {
    const answer = new Answer(turn);
    switch (frame.type) {
      case "start":
        answer.clear();
        turn.dataset.id = frame.messageId;
        turn.dataset.run = frame.messageMetadata.runId;
        this.note(turn, "");
        break;
      case "data-queue":
        this.note(turn, frame.data.position ? this.texts.textQueued.replace("{n}", frame.data.position) : "");
        break;
      case "text-start":
        answer.startText();
        break;
      case "text-delta":
        answer.append(frame.delta);
        break;
      case "data-block":
        for (const listing of answer.settle(frame.data)) this.#addCopy(listing);
        break;
      case "reasoning-delta":
        answer.reason(frame.delta);
        break;
      case "source-url":
        answer.cite(frame);
        break;
      case "finish":
        this.end(turn, "complete");
        break;
      case "abort":
        this.end(turn, "stopped");
        break;
      case "error":
        this.end(turn, "error", frame.errorText);
        break;
    }
  }

  end(turn, status, error = "") {
    turn.dataset.status = status;
    turn.removeAttribute("aria-busy");
    this.note(turn, status === "stopped" ? this.texts.textStopped : "");
    if (!error) return;
    const place = turn.querySelector("[data-error]");
    place.setAttribute("role", "alert");
    place.textContent = error;
  }

  note(turn, text) {
    turn.querySelector("[data-note]").textContent = text;
  }

  /** The text of an answer as a screen reader should hear it. */
  spoken(turn) {
    return turn.querySelector("[data-body]").textContent.trim();
  }

  toEnd() {
    this.stuck = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  /** After growth: stay at the end if the reader was there. */
  follow() {
    if (this.stuck) this.toEnd();
    else this.#scrolled();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.stuck = scrollHeight - scrollTop - clientHeight < 60;
    this.newest.hidden = this.stuck;
  }

  #make(template) {
    const turn = document.getElementById(template).content.firstElementChild.cloneNode(true);
    this.turns.append(turn);
    return turn;
  }

  #fill(turn, message) {
    const answer = new Answer(turn);
    turn.dataset.id = message.id;
    turn.dataset.run = message.metadata.runId ?? "";
    answer.show(message);
    for (const listing of turn.querySelectorAll("pre")) this.#addCopy(listing);
    if (["streaming", "queued"].includes(message.status)) {
      turn.dataset.status = message.status;
      turn.setAttribute("aria-busy", "true");
    } else {
      this.end(turn, message.status, message.metadata.error);
    }
  }

  #addCopy(listing) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy-code";
    button.dataset.copyCode = "";
    button.textContent = this.texts.textCopyCode;
    const box = document.createElement("div");
    box.className = "listing";
    listing.replaceWith(box);
    box.append(listing, button);
  }

  #click(event) {
    const turn = event.target.closest("[data-role=assistant]");
    const button = event.target.closest("button");
    if (!turn || !button) return;
    if ("retry" in button.dataset) this.onRetry(turn);
    if ("copy" in button.dataset) this.#copy(button.querySelector("span"), this.spoken(turn));
    if ("copyCode" in button.dataset) this.#copy(button, button.parentElement.querySelector("code").textContent);
  }

  async #copy(label, text) {
    const before = label.textContent;
    if (before === this.texts.textCopied) return;
    await navigator.clipboard.writeText(text);
    label.textContent = this.texts.textCopied;
    setTimeout(() => (label.textContent = before), 1500);
  }
}

/** One answer's element: settled blocks from the server, and behind them the raw tail of the text. */
class Answer {
  constructor(turn) {
    this.turn = turn;
    this.blocks = turn.querySelector("[data-blocks]");
    this.tail = turn.querySelector("[data-tail]");
    // The state belongs to the element: a turn is found again after a reconnect.
    this.state = turn.chatState ??= { text: "", shown: 0, settled: 0, owed: 0 };
  }

  clear() {
    this.blocks.replaceChildren();
    this.turn.querySelector("[data-reasoning-text]").textContent = "";
    this.turn.querySelector("[data-reasoning]").hidden = true;
    this.turn.querySelector("[data-sources] ul").replaceChildren();
    this.turn.querySelector("[data-sources]").hidden = true;
    this.startText();
  }

  startText() {
    Object.assign(this.state, { text: "", shown: 0, settled: 0, owed: 0 });
    this.tail.replaceChildren();
  }

  append(delta) {
    this.state.text += delta;
    if (this.tail.firstChild && !this.state.owed) this.tail.firstChild.appendData(delta);
    else this.#retail();
  }

  /** A rendered block takes the place of the raw text up to `end`, which counts code points. */
  settle({ html, end }) {
    this.state.owed += end - this.state.settled;
    this.state.settled = end;
    this.#retail();
    const before = this.blocks.lastElementChild;
    this.blocks.insertAdjacentHTML("beforeend", html);
    const added = before ? [...siblingsAfter(before)] : [...this.blocks.children];
    return added.flatMap((element) => (element.matches("pre") ? [element] : [...element.querySelectorAll("pre")]));
  }

  reason(delta) {
    this.turn.querySelector("[data-reasoning]").hidden = false;
    this.turn.querySelector("[data-reasoning-text]").append(delta);
  }

  cite({ url, title }) {
    const item = document.createElement("li");
    if (WEB.test(url)) {
      const link = Object.assign(document.createElement("a"), { href: url, target: "_blank" });
      link.rel = "noopener noreferrer nofollow";
      link.textContent = title || url;
      item.append(link);
    } else {
      item.textContent = title || url;
    }
    this.turn.querySelector("[data-sources] ul").append(item);
    this.turn.querySelector("[data-sources]").hidden = false;
  }

  show(message) {
    this.clear();
    for (const part of message.parts) {
      if (part.type === "reasoning") this.reason(part.text);
      if (part.type === "source-url") this.cite(part);
    }
    this.blocks.innerHTML = message.html;
  }

  #retail() {
    const state = this.state;
    for (; state.owed > 0 && state.shown < state.text.length; state.owed--) {
      state.shown += state.text.codePointAt(state.shown) > 0xffff ? 2 : 1;
    }
    const rest = state.text.slice(state.shown).replace(/^[\r\n]+/, "");
    this.tail.replaceChildren(...(rest ? [rest] : []));
  }
}

function* siblingsAfter(element) {
  for (let next = element.nextElementSibling; next; next = next.nextElementSibling) yield next;
}

function textOf(message) {
  return message.parts
    .filter((part) => part.type === "text")
    .map((part) => part.text)
    .join("");
}

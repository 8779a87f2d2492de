// The turns: rendered by the server, or built from the page's templates and filled by the frames of a stream.

export class Transcript {
  /**
   * `texts` are the page's translated texts; `Answer` is answer.js's. `on` has what the turns' buttons do:
   * again(turn), edit(turn), version(id, direction).
   */
  constructor({ scroller, turns, newest, texts, Answer, on }) {
    Object.assign(this, { scroller, turns, newest, texts, Answer, on });
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    newest.addEventListener("click", () => this.toEnd());
    turns.addEventListener("click", (event) => this.#click(event));
    this.stuck = true;
    this.#addCopies(turns);
    this.toEnd();
  }

  addQuestion(text, id) {
    document.querySelector("[data-welcome]")?.remove();
    const turn = this.#make("user-turn");
    turn.dataset.id = id;
    turn.querySelector("[data-body]").textContent = text;
    return turn;
  }

  /** An answer as it is before its first frame. */
  addAnswer() {
    const turn = this.#make("assistant-turn");
    turn.dataset.status = "streaming";
    turn.setAttribute("aria-busy", "true");
    return turn;
  }

  /** Take a turn and all behind it away. Returns the function that puts everything back as it was. */
  cut(turn) {
    const before = [...this.turns.children];
    for (const gone of before.slice(before.indexOf(turn))) gone.remove();
    return () => this.turns.replaceChildren(...before);
  }

  /** Take over the turns of a page that the server has rendered. What is the same stays, focus and all. */
  show(fresh) {
    const wanted = [...fresh.children];
    const keys = new Set(wanted.map(keyOf));
    const focused = this.turns.contains(document.activeElement) && document.activeElement.closest(".turn");
    for (const old of [...this.turns.children]) if (!keys.has(keyOf(old))) old.remove();
    let place = this.turns.firstElementChild;
    for (const turn of wanted) {
      if (place && keyOf(place) === keyOf(turn)) {
        place = place.nextElementSibling;
      } else {
        this.turns.insertBefore(turn, place);
        this.#addCopies(turn);
      }
    }
    if (focused && !focused.isConnected) this.find(focused.dataset.id)?.focus();
    this.#scrolled();
  }

  find(id) {
    return this.turns.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  /** The answer that is being written. */
  open() {
    return this.turns.querySelector("[data-role=assistant][aria-busy=true]");
  }

  /** Put one frame of the stream into its turn. */
  apply(turn, frame) {
    const answer = new this.Answer(turn);
    this.note(turn, frame.type === "data-queue" ? this.texts.textQueued.replace("{n}", frame.data.position) : "");
    switch (frame.type) {
      case "start":
        // A replay begins: without its height the page would jump under a reader who has scrolled up.
        turn.style.minHeight = `${turn.offsetHeight}px`;
        answer.clear();
        turn.dataset.id = frame.messageId;
        turn.dataset.run = frame.messageMetadata.runId;
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
        this.#end(turn, "complete");
        break;
      case "abort":
        this.#end(turn, "stopped");
        break;
      case "error":
        this.#end(turn, "error", frame.errorText);
        break;
    }
  }

  #end(turn, status, error = "") {
    turn.dataset.status = status;
    turn.removeAttribute("aria-busy");
    turn.style.minHeight = "";
    this.note(turn, status === "stopped" ? this.texts.textStopped : "");
    if (!error) return;
    const place = turn.querySelector("[data-error]");
    place.setAttribute("role", "alert");
    place.textContent = error;
  }

  /** What is to be said about an answer beside its text; returns it. */
  note(turn, text) {
    const place = turn.querySelector("[data-note]");
    if (place.textContent !== text) place.textContent = text;
    return text;
  }

  /** The text of an answer as a screen reader should hear it. */
  spoken(turn) {
    return turn.querySelector("[data-body]").textContent.trim();
  }

  /** Put the focus where it was before the version changed. Returns which one is on show, in words. */
  focusVersion(id, direction) {
    const versions = this.find(id)?.querySelector("[data-versions]");
    if (!versions) return "";
    const [previous, next] = versions.querySelectorAll("button");
    const [first, second] = direction === "next" ? [next, previous] : [previous, next];
    (first.disabled ? second : first).focus({ preventScroll: true });
    return versions.getAttribute("aria-label");
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

  #addCopies(element) {
    for (const listing of element.querySelectorAll("pre")) this.#addCopy(listing);
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
    const turn = event.target.closest(".turn");
    const button = event.target.closest("button");
    if (!turn || !button) return;
    if ("copy" in button.dataset) this.#copy(button.querySelector("span"), this.spoken(turn));
    if ("copyCode" in button.dataset) this.#copy(button, button.parentElement.querySelector("code").textContent);
    if ("edit" in button.dataset) this.on.edit(turn);
    if (button.form?.id !== "composer") return;
    event.preventDefault(); // without script these buttons send the form
    if (button.name === "again") this.on.again(turn);
    if (button.name === "show") this.on.version(button.value, button.dataset.direction);
  }

  async #copy(label, text) {
    const before = label.textContent;
    if (before === this.texts.textCopied) return;
    await navigator.clipboard.writeText(text);
    label.textContent = this.texts.textCopied;
    setTimeout(() => (label.textContent = before), 1500);
  }
}

/** What tells whether a turn on the page is the same as one from the server. */
function keyOf(turn) {
  if (!turn.dataset.id) return turn.outerHTML;
  return [turn.dataset.id, turn.dataset.status, turn.querySelector("[data-place]")?.textContent].join();
}

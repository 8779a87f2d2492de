// The message box: keeps drafts, sends, and stops what is being written.

export class Composer {
  #grow;

  /** `onSend(text, id)` gets each message with the ID it keeps however often it is sent; `attach`: textbox.js's. */
  constructor(form, { conversation, onSend, onStop, newId, attach }) {
    Object.assign(this, { form, onSend, newId, conversation });
    this.text = form.elements.text;
    this.sendButton = form.querySelector("[data-send]");
    this.stopButton = form.querySelector("[data-stop]");
    this.hint = document.querySelector("[data-hint]");
    form.addEventListener("submit", (event) => this.#submit(event));
    this.stopButton.addEventListener("click", onStop);
    this.text.addEventListener("input", () => this.#keep(""));
    this.#grow = attach(this.text, () => (this.busy ? this.#wait() : form.requestSubmit(this.sendButton)));
    this.#restore();
  }

  get #draftKey() {
    return `chatsession:draft:${this.conversation}`;
  }

  /** Whether an answer is being written: then the button stops it. */
  set busy(busy) {
    const hadFocus = this.sendButton === document.activeElement || this.stopButton === document.activeElement;
    this.sendButton.hidden = busy;
    this.stopButton.hidden = !busy;
    this.hint.textContent = "";
    if (hadFocus) this.text.focus();
  }

  get busy() {
    return this.sendButton.hidden;
  }

  /** Bring back a text that was not accepted; what was typed meanwhile stays behind it. */
  putBack(text, id) {
    const typed = this.text.value;
    this.text.value = typed && typed !== text ? `${text}\n\n${typed}` : text;
    this.#keep(this.text.value === text ? id : "");
    this.#grow();
  }

  /** The server has it: forget the copy. */
  accepted(id) {
    const draft = this.#draft();
    if (draft.id === id) this.#keep("");
  }

  /** The draft moves along when the new conversation gets its ID. */
  moveTo(conversation) {
    const draft = sessionStorage.getItem(this.#draftKey);
    sessionStorage.removeItem(this.#draftKey);
    this.conversation = conversation;
    if (draft) sessionStorage.setItem(this.#draftKey, draft);
  }

  #wait() {
    if (this.text.value.trim()) this.hint.textContent = this.hint.dataset.text;
  }

  #submit(event) {
    event.preventDefault();
    const text = event.submitter?.name === "suggestion" ? event.submitter.value : this.text.value;
    if (this.busy || !text.trim()) return;
    const draft = this.#draft();
    const id = draft.text === text && draft.id ? draft.id : this.newId();
    if (text === this.text.value) this.text.value = "";
    sessionStorage.setItem(this.#draftKey, JSON.stringify({ text, id }));
    this.#grow();
    this.onSend(text, id);
  }

  #draft() {
    return JSON.parse(sessionStorage.getItem(this.#draftKey) ?? "{}");
  }

  #keep(id) {
    const text = this.text.value;
    if (text) sessionStorage.setItem(this.#draftKey, JSON.stringify({ text, id }));
    else sessionStorage.removeItem(this.#draftKey);
  }

  #restore() {
    const { text, id } = this.#draft();
    const arrived = id && document.querySelector(`[data-id="${CSS.escape(id)}"]`);
    if (arrived) sessionStorage.removeItem(this.#draftKey);
    else if (text && !this.text.value) this.text.value = text;
    this.#grow();
  }
}

// The conversations at the side: drawer, rename, delete, and keeping the list true.

export class Sidebar {
  /** `page` is a new chat's URL, `pageOf(id)` a conversation's; `onError(error)` tells the visitor. */
  constructor({ api, page, pageOf, texts, onError }) {
    Object.assign(this, { api, page, pageOf, texts, onError });
    this.aside = document.getElementById("sidebar");
    this.list = document.querySelector("[data-conversations]");
    this.opener = document.querySelector("[data-drawer-open]");
    this.opener.addEventListener("click", () => this.#drawer(true));
    for (const closer of document.querySelectorAll("[data-drawer-close]")) {
      closer.addEventListener("click", () => this.#drawer(false));
    }
    document.addEventListener("keydown", (event) => this.#key(event));
    this.list.addEventListener("click", (event) => this.#click(event));
    const more = document.querySelector("[data-more-conversations]");
    more?.addEventListener("click", () => this.#more(more));
  }

  /** Show a conversation's title, at the top of the list if it is new there. */
  async update(id, { current = true } = {}) {
    const { title } = await this.api.json(`conversations/${encodeURIComponent(id)}`);
    const item = this.#item(id) ?? this.#add(id);
    this.list.prepend(item);
    this.#name(item, title, current);
  }

  #item(id) {
    return this.list.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  #add(id) {
    const item = document.getElementById("conversation-item").content.firstElementChild.cloneNode(true);
    item.dataset.id = id;
    item.querySelector("a").href = this.pageOf(id);
    this.list.append(item);
    return item;
  }

  #name(item, title, current) {
    const link = item.querySelector("a");
    link.textContent = title || this.texts.textNewChat;
    if (!current) return;
    link.setAttribute("aria-current", "page");
    document.querySelector("[data-title]").textContent = link.textContent;
    document.title = `${link.textContent} · ${this.texts.textChat}`;
  }

  #drawer(open) {
    document.body.classList.toggle("drawer-open", open);
    document.getElementById("main").inert = open;
    this.opener.setAttribute("aria-expanded", String(open));
    if (open) this.aside.querySelector("a, button").focus();
    else if (this.opener.checkVisibility()) this.opener.focus();
  }

  #key(event) {
    if (event.key !== "Escape" || !document.body.classList.contains("drawer-open")) return;
    event.preventDefault();
    this.#drawer(false);
  }

  #click(event) {
    const item = event.target.closest(".conversation");
    if (event.target.closest("[data-rename-button]")) this.#rename(item);
    if (event.target.closest("[data-delete-button]")) this.#delete(item);
  }

  async #rename(item) {
    const dialog = document.querySelector("[data-rename]");
    const field = dialog.querySelector("input");
    const link = item.querySelector("a");
    field.value = link.textContent;
    if ((await answer(dialog)) !== "ok" || !field.value.trim()) return;
    await this.#attempt(async () => {
      const body = { title: field.value.trim() };
      const { title } = await this.api.json(this.#path(item), { method: "PATCH", body });
      this.#name(item, title, link.hasAttribute("aria-current"));
    });
  }

  async #delete(item) {
    const dialog = document.querySelector("[data-delete]");
    dialog.querySelector("[data-delete-name]").textContent = item.querySelector("a").textContent;
    if ((await answer(dialog)) !== "ok") return;
    await this.#attempt(async () => {
      await this.api.request(this.#path(item), { method: "DELETE" });
      const next = item.nextElementSibling ?? item.previousElementSibling;
      if (item.querySelector("[aria-current]")) location.assign(this.page);
      item.remove();
      (next?.querySelector("a") ?? document.querySelector(".new-chat")).focus();
    });
  }

  async #more(button) {
    await this.#attempt(async () => {
      const query = this.cursor ? `?cursor=${encodeURIComponent(this.cursor)}` : "";
      const { conversations, nextCursor } = await this.api.json(`conversations${query}`);
      for (const { id, title } of conversations) {
        if (!this.#item(id)) this.#name(this.#add(id), title, false);
      }
      this.cursor = nextCursor;
      button.hidden = !nextCursor;
      // The first page is the one the server has rendered.
      if (!query && nextCursor) await this.#more(button);
    });
  }

  #path(item) {
    return `conversations/${encodeURIComponent(item.dataset.id)}`;
  }

  async #attempt(action) {
    try {
      await action();
    } catch (error) {
      this.onError(error);
    }
  }
}

/** Ask by a dialog: the value of the button that closed it, "" for Escape. */
function answer(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    // The event of an earlier close may come when the dialog is open again: that is no answer.
    dialog.onclose = () => dialog.open || resolve(dialog.returnValue);
  });
}

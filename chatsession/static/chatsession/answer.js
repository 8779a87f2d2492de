// One answer's element: settled blocks from the server, and behind them the raw tail of the text.

const WEB = /^https?:\/\//i;

export class Answer {
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

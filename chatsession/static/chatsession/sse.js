// Server-sent events out of a fetch body. Pure: no page, no network.

/** Splits text that arrives in pieces into events {id, type, data}. */
export class EventParser {
  #rest = "";
  #event = { id: "", type: "message", data: [] };

  /** The events that `text` completes. */
  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (name === "data") this.#event.data.push(value ?? "");
    else if (name === "id") this.#event.id = value ?? "";
    else if (name === "event") this.#event.type = value ?? "";
    return [];
  }

  #dispatch() {
    const { id, type, data } = this.#event;
    this.#event = { id: "", type: "message", data: [] };
    return data.length ? [{ id, type, data: data.join("\n") }] : [];
  }
}

/** The JSON frames of a body, until "[DONE]" or its end. */
export async function* readFrames(body) {
  const parser = new EventParser();
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      for (const { data } of parser.push(value)) {
        if (data === "[DONE]") return;
        yield JSON.parse(data);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// Requests to the API. The CSRF token is read when a request is sent: a login elsewhere changes it.

/** A refusal in the API's error shape. */
export class Refusal extends Error {
  constructor(status, error = {}) {
    super(error.message ?? "");
    this.status = status;
    this.code = error.code ?? "";
    this.runId = error.runId ?? null;
  }
}

export function newId() {
  // crypto.randomUUID() is missing on plain http, where a chat is tried out in a local network.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

export class Api {
  /** `page` is the page's URL; `csrf` is {cookie, header}: the names to use. */
  constructor(page, csrf) {
    this.page = page;
    this.base = new URL("api/", new URL(page, document.baseURI)).href;
    this.csrf = csrf;
  }

  /** A response with a good status. Throws Refusal, or what fetch throws where no answer came. */
  async request(path, { method = "GET", body, signal } = {}) {
    const send = () =>
      fetch(this.base + path, {
        method,
        signal,
        cache: "no-store",
        credentials: "same-origin",
        headers: this.#headers(method, body),
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    let response = await send();
    if (response.status === 403 && method !== "GET") {
      // Perhaps only the token is old: somebody logged in in another tab.
      await this.#renewToken();
      response = await send();
    }
    if (!response.ok) throw new Refusal(response.status, await errorIn(response));
    return response;
  }

  async json(path, options) {
    return (await this.request(path, options)).json();
  }

  /** One of the site's pages. Throws as request() does. */
  async document(url) {
    const response = await fetch(url, { credentials: "same-origin", cache: "no-store" });
    if (!response.ok) throw new Refusal(response.status);
    return new DOMParser().parseFromString(await response.text(), "text/html");
  }

  #headers(method, body) {
    const headers = { Accept: "application/json, text/event-stream", "X-Chat-Render": "html" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (method !== "GET") headers[this.csrf.header] = this.#token();
    return headers;
  }

  #token() {
    const start = `${this.csrf.cookie}=`;
    const found = document.cookie.split("; ").find((cookie) => cookie.startsWith(start));
    return found ? decodeURIComponent(found.slice(start.length)) : tokenField(document).value;
  }

  async #renewToken() {
    const fresh = tokenField(await this.document(this.page))?.value;
    if (fresh) for (const field of document.querySelectorAll("input[name=csrfmiddlewaretoken]")) field.value = fresh;
  }
}

function tokenField(page) {
  return page.querySelector("[data-composer] input[name=csrfmiddlewaretoken]");
}

async function errorIn(response) {
  try {
    return (await response.json()).error;
  } catch {
    return {};
  }
}

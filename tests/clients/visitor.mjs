// A visitor of the site as its page would be one: session cookie, CSRF token, and unmodified clients.
import assert from "node:assert/strict";
import net from "node:net";

export const PORT = process.env.CHAT_PORT;
export const SITE = `http://127.0.0.1:${PORT}`;
export const PATIENCE = { timeout: 60_000 };

export const newId = () => crypto.randomUUID();
export const textOf = (message) =>
  message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");

/** What a browser adds to fetch(): the cookies. And what the page adds: the CSRF token. */
class Visitor {
  cookies = new Map();

  fetch = async (url, options = {}) => {
    const headers = new Headers(options.headers);
    headers.set("Cookie", [...this.cookies].map((pair) => pair.join("=")).join("; "));
    headers.set("X-CSRFToken", this.cookies.get("csrftoken") ?? "");
    const response = await fetch(url, { ...options, headers });
    for (const line of response.headers.getSetCookie()) {
      const [name, value] = line.split(";")[0].split("=");
      this.cookies.set(name, value);
    }
    return response;
  };

  async post(path, body = {}) {
    const headers = { "Content-Type": "application/json" };
    return this.fetch(SITE + path, { method: "POST", headers, body: JSON.stringify(body) });
  }

  send(id, text, messageId = newId()) {
    const message = { id: messageId, role: "user", parts: [{ type: "text", text }] };
    return this.post("/chat/api/chat", { id, message });
  }

  async stop(id) {
    return (await this.post(`/chat/api/chat/${id}/stop`)).json();
  }

  /** The conversation as the server has it, for the `messages` of another instance. */
  async stored(id) {
    return (await this.fetch(`${SITE}/chat/api/conversations/${id}/messages`)).json();
  }
}

export async function visit() {
  const visitor = new Visitor();
  assert.equal((await visitor.fetch(`${SITE}/chat/`)).status, 200);
  return visitor;
}

export async function eventually(condition) {
  const deadline = Date.now() + 10_000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, "it never came true");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A way to the site that breaks once, after so many bytes of an answer; its port, and how often it was taken. */
export async function breakingWay(bytes) {
  const way = { taken: 0 };
  const server = net.createServer((client) => {
    way.taken += 1;
    let left = way.taken === 1 ? bytes : Infinity;
    const site = net.connect(PORT, "127.0.0.1");
    client.pipe(site);
    site.on("data", (data) => {
      client.write(data.subarray(0, left));
      left -= data.length;
      if (left <= 0) client.resetAndDestroy(), site.destroy();
    });
    site.on("end", () => client.end());
    site.on("error", () => client.destroy());
    client.on("error", () => site.destroy());
    client.on("close", () => site.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  way.site = `http://127.0.0.1:${server.address().port}`;
  return way;
}

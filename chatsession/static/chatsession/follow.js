// An answer followed to its end, over lost connections. Pure: the requests, the time and the page are the caller's.

const PAUSE = { first: 500, longest: 10_000 }; // ms
const ENDS = ["finish", "abort", "error"];

/**
 * Ask for an answer and give each frame to `onFrame`; a body that breaks off is taken up again.
 *
 * `ask()` is tried `tries` times and `onOpen()` called when it was answered; from then on `resume()` is, for ever.
 * `read(body)` iterates over the frames, `onLost()` is called before each pause, `wait(ms)` pauses. Resolves to
 * whether the end came in a frame: false if the server writes nothing (204). Throws what it was refused with.
 */
export async function follow({ ask, resume, tries, read, wait, onOpen, onFrame, onLost }) {
  for (let opened = false, failed = 0; ; ) {
    try {
      const response = await (opened ? resume() : ask());
      if (!opened) onOpen();
      [opened, failed] = [true, 0];
      if (response.status === 204) return false;
      if (await consume(read(response.body), onFrame)) return true;
    } catch (error) {
      failed += 1;
      if (isFinal(error, opened) || (!opened && failed >= tries)) throw error;
    }
    onLost();
    await wait(Math.min(PAUSE.first * 2 ** failed, PAUSE.longest));
  }
}

async function consume(frames, onFrame) {
  let ended = false;
  for await (const frame of frames) {
    onFrame(frame);
    ended ||= ENDS.includes(frame.type);
  }
  return ended;
}

/** Whether another attempt is useless: we broke it off ourselves, or the server has said no for good. */
function isFinal({ name, status }, opened) {
  if (name === "AbortError") return true;
  const later = opened && (status === 429 || status >= 500);
  return status !== undefined && !later;
}

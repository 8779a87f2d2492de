// A text box that grows with its text, and whose Enter means "done" unless an input method is composing.

/** Whether a keydown is that Enter; `composed` is when the last composition ended. Pure. */
export function isDone(event, composed = -Infinity) {
  // 229 and the moment after compositionend: Safari reports the confirming Enter as a plain one.
  const composing = event.isComposing || event.keyCode === 229 || event.timeStamp - composed < 50;
  return event.key === "Enter" && !event.shiftKey && !composing && !event.defaultPrevented;
}

/** Make a textarea such a box. Returns the function that fits its height to its text. */
export function attach(box, onDone) {
  let composed;
  const grow = () => {
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight + box.offsetHeight - box.clientHeight}px`;
  };
  box.addEventListener("input", grow);
  box.addEventListener("compositionend", (event) => (composed = event.timeStamp));
  box.addEventListener("keydown", (event) => {
    if (!isDone(event, composed)) return;
    event.preventDefault();
    onDone();
  });
  grow();
  return grow;
}

"""What one client has read of one answer, over as many connections as it took."""

from __future__ import annotations

#: Positions from here on belong to ends that came early.
CUT = 10**9
ENDS = ("finish", "abort", "error")


class Reading:
    """Puts an answer together by the frame rules and notes every breach of them."""

    def __init__(self, conversation_id):
        self.conversation_id = conversation_id
        self.message_id = self.cursor = ""
        self.replays = -1
        self.faults = []
        self.begin()

    def begin(self):
        self.position, self.texts, self.open, self.end = 0, {}, None, None

    @property
    def text(self):
        return "".join(self.texts.values())

    def apply(self, event_id, frame):
        if event_id is None:
            return
        kind = frame["type"]
        if kind == "start":
            self.start(frame["messageId"])
        _run, _, position = event_id.partition(":")
        self.expect(int(position), len(frame.get("delta", "x")))
        self.cursor, self.position = event_id, int(position)
        if kind.endswith("-start"):
            self.texts[frame["id"]] = ""
            self.open = frame["id"]
        elif kind.endswith("-delta"):
            if self.open != frame["id"]:
                self.faults.append(f"a delta of {frame['id']} while {self.open} is open")
            self.texts[frame["id"]] += frame["delta"]
        elif kind in ENDS:
            self.end = kind

    def start(self, message_id):
        if self.message_id not in ("", message_id):
            self.faults.append("replayed as another message")
        self.message_id = message_id
        self.replays += 1
        self.begin()

    def expect(self, position, step):
        if position != self.position + step and position < CUT:
            self.faults.append(f"{self.position} -> {position}, a step of {step}")

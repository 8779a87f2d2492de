from chatsession.testing.backends import BackendContract as BackendContract
from chatsession.testing.backends import FakeBackend as FakeBackend
from chatsession.testing.chat import Answer as Answer
from chatsession.testing.chat import asend as asend
from chatsession.testing.chat import inline_runs as inline_runs
from chatsession.testing.chat import send as send

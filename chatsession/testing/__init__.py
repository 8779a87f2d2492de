from chatsession.testing.backends import BackendContract as BackendContract
from chatsession.testing.backends import FakeBackend as FakeBackend

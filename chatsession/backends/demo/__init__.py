from chatsession.backends.demo.backend import DemoBackend as DemoBackend

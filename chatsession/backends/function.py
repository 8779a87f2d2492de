"""A function as a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatsession.backends.base import Answer, Prompt


class FunctionBackend:
    """``function(prompt)`` returns a str or an iterator, or is a coroutine or async generator function.

    ``stream`` is the function itself, so whoever asks what kind it is sees through this class.
    """

    def __init__(self, function: Callable[[Prompt], Answer]) -> None:
        self.stream = function

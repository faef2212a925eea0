"""containerd over gRPC: one channel, every call with the namespace it is about, and errors of prun's classes.

Only this module imports grpc.  Methods are called by their path, so that no generated stubs are needed:
``client.call("tasks.v1.Tasks/Start", TaskOf(container_id=...), StartedTask)``.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

# Before grpc is imported: its own words on stderr are none of the user's.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc
from google.protobuf.empty_pb2 import Empty

from prun.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PrunError,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from google.protobuf.message import Message

    from prun.engines.containerd.place import Place

Answer = TypeVar("Answer", bound="Message")

CALL_S = 60.0
MESSAGE_BYTES = 16 << 20  # the server's own limit
_WORDS = 500  # of an error
_CLASSES: dict[object, type[PrunError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.DATA_LOSS: DataLoss,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
}


class Gone(Unavailable):
    """Nothing answers at the address, by now or from the beginning."""


class Client:
    """A connection to one namespace of a containerd; used by several threads at once.

    Every method raises Gone where nothing answers, and the class of error that fits where containerd refuses.
    """

    def __init__(self, address: str, namespace: str) -> None:
        self.address, self.namespace = address, namespace
        options = (("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.default_authority", "localhost"))
        self._channel = grpc.insecure_channel(f"unix:{address}", options=options)

    def call(
        self, method: str, request: Message, answer: type[Answer], *, lease: str = "", timeout_s: float | None = CALL_S
    ) -> Answer:
        """Call a method and return its answer; what it makes is held by ``lease``."""
        function = self._channel.unary_unary(_path(method), _serialized, answer.FromString)
        try:
            result: Answer = function(request, metadata=self._metadata(lease), timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._translated(method, error) from error
        return result

    def tell(self, method: str, request: Message, *, lease: str = "", timeout_s: float | None = CALL_S) -> None:
        """Call a method that answers nothing."""
        self.call(method, request, Empty, lease=lease, timeout_s=timeout_s)

    def start_call(self, method: str, request: Message, answer: type[Answer]) -> Pending[Answer]:
        """Call a method that answers in its own time, and do not wait."""
        function = self._channel.unary_unary(_path(method), _serialized, answer.FromString)
        future = function.future(request, metadata=self._metadata(""))
        return Pending(future, lambda error: self._translated(method, error))

    def stream(self, method: str, request: Message, answer: type[Answer]) -> Iterator[Answer]:
        """Call a method that answers with a stream."""
        function = self._channel.unary_stream(_path(method), _serialized, answer.FromString)
        try:
            yield from function(request, metadata=self._metadata(""))
        except grpc.RpcError as error:
            raise self._translated(method, error) from error

    def exchange(
        self, method: str, requests: Iterable[Message], answer: type[Answer], *, lease: str = ""
    ) -> Iterator[Answer]:
        """Call a method with a stream of questions and a stream of answers."""
        function = self._channel.stream_stream(_path(method), _serialized, answer.FromString)
        try:
            yield from function(iter(requests), metadata=self._metadata(lease))
        except grpc.RpcError as error:
            raise self._translated(method, error) from error

    def _metadata(self, lease: str) -> tuple[tuple[str, str], ...]:
        named = (("containerd-namespace", self.namespace),)
        return (*named, ("containerd-lease", lease)) if lease else named

    def _translated(self, method: str, error: grpc.RpcError) -> PrunError:
        code, words = error.code(), _one_line(error.details() or "")
        if code == grpc.StatusCode.UNAVAILABLE and "locked" not in words:
            return self._gone(words)
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return Unimplemented(f"containerd at {self.address} is too old: it has no {method.partition('.')[0]}")
        return _CLASSES.get(code, Unavailable)(f"containerd: {words or code.name}")

    def _gone(self, words: str) -> PrunError:
        if "ermission denied" in words:
            return PermissionDenied(f"containerd at {self.address} may not be used", hint="run prun as root (sudo)")
        return Gone(
            f"containerd at {self.address} does not answer: {words.rpartition(': ')[2]}",
            hint="start it (systemctl start containerd), or name another with --address or CONTAINERD_ADDRESS",
        )


class Pending(Generic[Answer]):
    """A call whose answer may take any time."""

    def __init__(self, future: grpc.Future, translated: Callable[[grpc.RpcError], PrunError]) -> None:
        self._future, self._translated = future, translated

    def result(self, timeout_s: float | None = None) -> Answer | None:
        """Return the answer, None when ``timeout_s`` seconds pass first."""
        try:
            result: Answer = self._future.result(timeout=timeout_s)
        except grpc.FutureTimeoutError:
            return None
        except grpc.FutureCancelledError as error:
            raise Gone("the call was given up") from error
        except grpc.RpcError as error:
            raise self._translated(error) from error
        return result

    def cancel(self) -> None:
        """Wait for it no more; nothing else changes."""
        self._future.cancel()


@lru_cache(maxsize=16)
def client_of(address: str, namespace: str) -> Client:
    """Return the connection of this process to a namespace; it is made when it is first used, and stays."""
    return Client(address, namespace)


def connected(place: Place) -> Client:
    """Return the connection to a place."""
    return client_of(place.address, place.namespace)


@contextmanager
def taking_down() -> Iterator[None]:
    """Say of an error of the block, where containerd has gone, that something may be left there."""
    try:
        yield
    except Gone as error:
        error.unfinished = True
        raise


def _path(method: str) -> str:
    return f"/containerd.services.{method}"


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _one_line(words: str) -> str:
    return "".join(c if c.isprintable() else " " for c in " ".join(words.split()))[:_WORDS]

"""Does a TCP port accept connections, and does it say what it should?"""

from typing import ClassVar

from pydantic import Field

from probes.address import Endpoint
from probes.dial import CutOff, Line, dial, shown, tcp_failure
from probes.handshake import shake, trusting
from probes.probe import Ask, BlockingProbe, Expect, Failure, Metric, Reading, probe
from probes.result import Phases, Reason

MAX_ANSWER_BYTES = 64 * 1024


class TcpOptions(Endpoint):
    """What to connect to, and what to say."""

    ports: ClassVar = {"tcp": None, "tls": None}

    send: str | None = Field(None, max_length=4096, description="Text to send; `\\r\\n` as in YAML double quotes")
    ca_file: str | None = Field(None, description="PEM file of the authorities to trust, for a tls:// address")


class TcpExpect(Expect):
    """What the peer must say."""

    answer: str | None = Field(
        None, max_length=500, description="Text that must appear in what the peer sends, as the banner `SSH-2.0`"
    )


@probe("tcp")
class TcpProbe(BlockingProbe):
    """Opens a TCP connection (or TLS, with tls://), sends a text and waits for an answer where that is wanted."""

    Options = TcpOptions
    Expect = TcpExpect
    metrics: ClassVar = {"answer_s": Metric("Seconds from the open connection to the expected text")}

    options: TcpOptions
    expect: TcpExpect

    def describe(self) -> str:
        """`connect to host:port`."""
        return f"connect to {self.options.where().place}"

    def run(self, ask: Ask) -> Reading:
        """Connects; then the dialogue, if there is one."""
        where = self.options.where()
        context = trusting(self.options.ca_file) if where.scheme == "tls" else None
        line = dial(where.host, where.port, ask.deadline, self.options.allow_addresses)
        sock, phases = line.sock, line.phases
        if context is not None:
            sock, phases = shake(sock, context, where.host, ask.deadline, phases)
        with sock:
            line = Line(sock, line.address, phases)
            metrics = self._talk(line, ask, where.place)
        total = sum(filter(None, (phases.dns_s, phases.connect_s, phases.tls_s)))
        return Reading(duration_s=total + metrics.get("answer_s", 0.0), phases=phases, metrics=metrics)

    def _talk(self, line: Line, ask: Ask, place: str) -> dict[str, float]:
        if self.options.send is None and self.expect.answer is None:
            return {}
        before = ask.deadline.remaining_s()
        wanted = (self.expect.answer or "").encode()
        with CutOff(ask.deadline, line.sock.fileno(), f"waiting for {place} to answer"):
            try:
                if self.options.send is not None:
                    line.sock.sendall(self.options.send.encode())
                _read_until(line, wanted, ask, place)
            except TimeoutError:
                ask.deadline.remaining_s()
                raise
            except OSError as error:
                raise tcp_failure(error, place, line.phases) from error
        return {"answer_s": before - ask.deadline.remaining_s()} if wanted else {}


def _read_until(line: Line, wanted: bytes, ask: Ask, place: str) -> None:
    heard = b""
    while wanted not in heard and len(heard) < MAX_ANSWER_BYTES:
        line.sock.settimeout(ask.deadline.remaining_s())
        data = line.sock.recv(4096)
        if not data:
            break
        heard += data
    if wanted not in heard:
        ask.deadline.remaining_s()
        raise _mismatch(heard, wanted, place, line.phases)


def _mismatch(heard: bytes, wanted: bytes, place: str, phases: Phases) -> Failure:
    said = shown(heard)
    text = (
        f"{place}: expected “{wanted.decode()}”, the peer said “{said}”" if said else f"{place}: hung up without a word"
    )
    return Failure(Reason.BODY_MISMATCH, text, phases=phases)

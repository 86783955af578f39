"""What addresses a name has, asked over our own loop: timed, cancellable, and without a thread that could hang.

The C library's resolver blocks a thread for as long as a name server likes and cannot tell a missing name from a dead
server. Here every question is a datagram and a timer; an answer is kept no longer than its TTL.
"""

import secrets
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from probes.descriptors import is_shortage
from probes.loop import READABLE, WRITABLE, Loop, OnEvent, Timer
from probes.name_service import NameService, SystemNameService
from probes.probe import Failure
from probes.result import Reason

Family = Literal["any", "ipv4", "ipv6"]
_TYPES = {
    "any": (dns.rdatatype.AAAA, dns.rdatatype.A),
    "ipv4": (dns.rdatatype.A,),
    "ipv6": (dns.rdatatype.AAAA,),
}
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 4.0
_OTHER_FAMILY_WAIT_S = 0.05  # RFC 8305, section 3: do not hold one family's answer back for the other's
_LONGEST_TTL_S = 60.0
_HEAD, _QUESTION, _RECURSE = struct.Struct("!6H"), struct.Struct("!2H"), 0x0100
_OPT = struct.pack("!B2HIH", 0, dns.rdatatype.OPT, 1232, 0, 0)
_MOST_CACHED = 10_000


@dataclass(frozen=True, slots=True)
class Lookup:
    """Addresses of a name, IPv6 first, and the seconds it took to learn them (0 from the cache or the hosts file)."""

    addresses: tuple[str, ...]
    elapsed_s: float


Answer = Lookup | Failure
OnAnswer = Callable[[Answer], object]


@dataclass(frozen=True, slots=True)
class _Reply:
    """The end of one question: addresses, or the reason there are none (dns_nxdomain also for a name without any)."""

    addresses: tuple[str, ...] = ()
    ttl_s: float = 0.0
    reason: Reason | None = None
    text: str = ""


class Resolver:
    """Asks the machine's name servers. Questions for one name that are under way at the same time are asked once."""

    def __init__(self, loop: Loop, names: Callable[[], NameService] | None = None) -> None:
        self._loop = loop
        self._names = names or SystemNameService().current
        self._cache: dict[tuple[str, Family], tuple[float, tuple[str, ...]]] = {}
        self._under_way: dict[tuple[str, Family], _Search] = {}

    def resolve(self, host: str, family: Family, timeout_s: float, on_answer: OnAnswer) -> Timer:
        """Call back with a Lookup or a Failure, at the latest when the time is over. Cancel by the returned timer."""
        started = self._loop.time()
        timer = Timer(lambda: None)

        def answer(found: _Reply) -> None:
            if timer.call is None:
                return
            timer.cancel()
            elapsed = self._loop.time() - started
            on_answer(_failure(host, found) if found.reason else Lookup(found.addresses, elapsed))

        known = self._known(host, family)
        if known is not None:
            answer(known if known.reason else _Reply(known.addresses))
            return timer
        key = (host, family)
        search = self._under_way.get(key)
        if search is None:
            search = self._under_way[key] = _Search(self._loop, self._names(), host, family, partial(self._keep, key))
            search.waiting.append(answer)
            search.begin()
        else:
            search.waiting.append(answer)
        self._loop.call_later(timeout_s, partial(self._give_up, key, search, answer, timeout_s))
        return timer

    def known(self, host: str, family: Family) -> tuple[str, ...] | None:
        """The addresses of a name if they need not be asked for; None where they do, or there are none."""
        reply = self._known(host, family)
        return None if reply is None else reply.addresses or None

    def close(self) -> None:
        """Drop the questions under way; nobody is called back."""
        for search in self._under_way.values():
            search.close()
        self._under_way.clear()

    def _known(self, host: str, family: Family) -> _Reply | None:
        addresses = self._names().known(host)
        if addresses:
            wanted = tuple(a for a in addresses if family == "any" or (":" in a) == (family == "ipv6"))
            if wanted:
                return _Reply(wanted)
            return _Reply(reason=Reason.DNS_NXDOMAIN, text=f"the hosts file has no {family} address for it")
        until, cached = self._cache.get((host, family), (0.0, ()))
        return _Reply(cached) if self._loop.time() < until else None

    def _keep(self, key: tuple[str, Family], reply: _Reply) -> None:
        self._under_way.pop(key, None)
        if reply.addresses and reply.ttl_s > 0:
            if len(self._cache) >= _MOST_CACHED:
                self._cache.clear()
            self._cache[key] = (self._loop.time() + min(reply.ttl_s, _LONGEST_TTL_S), reply.addresses)

    def _give_up(
        self, key: tuple[str, Family], search: "_Search", answer: Callable[[_Reply], None], timeout_s: float
    ) -> None:
        if answer not in search.waiting:
            return
        search.waiting.remove(answer)
        text = search.trouble or f"no answer from {search.server} within {timeout_s:.3g} s"
        answer(_Reply(reason=search.trouble_reason or Reason.DNS_TIMEOUT, text=text))
        if not search.waiting:
            search.close()
            self._under_way.pop(key, None)


class _Search:
    """One name through its candidates (search list) in one or both families."""

    def __init__(
        self, loop: Loop, service: NameService, host: str, family: Family, on_end: Callable[[_Reply], object]
    ) -> None:
        self._loop, self._service, self._on_end = loop, service, on_end
        self._candidates = list(service.candidates(host))
        self._types = _TYPES[family]
        self._questions: list[_Question] = []
        self._replies: dict[int, _Reply] = {}
        self._worst = _Reply(reason=Reason.DNS_NXDOMAIN, text="no such name")
        self._hurry: Timer | None = None
        self.waiting: list[Callable[[_Reply], None]] = []

    @property
    def server(self) -> str:
        """The name server that is being asked, for messages."""
        return self._questions[0].server[0] if self._questions else "the name server"

    @property
    def trouble_reason(self) -> Reason | None:
        """What a server answered that is no answer, if one did."""
        return next((q.trouble.reason for q in self._questions if q.trouble), None)

    @property
    def trouble(self) -> str:
        """The same for people."""
        return next((q.trouble.text for q in self._questions if q.trouble), "")

    def begin(self) -> None:
        """Ask for the next candidate, or end with the worst of what was heard."""
        self.close()
        self._replies = {}
        if not self._candidates:
            self._end(self._worst)
            return
        try:
            name = dns.name.from_text(self._candidates.pop(0))
        except dns.exception.DNSException as error:
            self._worst = _Reply(reason=Reason.DNS_NXDOMAIN, text=f"not a valid name: {error}")
            self.begin()
            return
        self._questions = [
            _Question(self._loop, self._service.servers, name, rdtype, partial(self._hear, rdtype))
            for rdtype in self._types
        ]
        for question in self._questions:
            question.ask()

    def close(self) -> None:
        """Drop all questions that are under way."""
        for question in self._questions:
            question.close()
        if self._hurry is not None:
            self._hurry.cancel()

    def _hear(self, rdtype: int, reply: _Reply) -> None:
        self._replies[rdtype] = reply
        if len(self._replies) == len(self._types):
            self._judge()
        elif reply.addresses:
            self._hurry = self._loop.call_later(_OTHER_FAMILY_WAIT_S, self._judge)

    def _judge(self) -> None:
        heard = [self._replies[t] for t in self._types if t in self._replies]
        addresses = tuple(address for reply in heard for address in reply.addresses)
        if addresses:
            self._end(_Reply(addresses, min(reply.ttl_s for reply in heard if reply.addresses)))
            return
        # A dead server hides whether the name exists, so it outweighs "no such name".
        self._worst = next((r for r in heard if r.reason is not Reason.DNS_NXDOMAIN), heard[0])
        self.begin()

    def _end(self, reply: _Reply) -> None:
        self.close()
        waiting, self.waiting = self.waiting, []
        self._on_end(reply)
        for answer in waiting:
            answer(reply)


class _Question:
    """One question (name and record type), asked of one server after the other until one answers."""

    def __init__(
        self,
        loop: Loop,
        servers: tuple[tuple[str, int], ...],
        name: dns.name.Name,
        rdtype: dns.rdatatype.RdataType,
        on_reply: Callable[[_Reply], object],
    ) -> None:
        self._loop, self._servers, self._on_reply = loop, servers, on_reply
        self._name, self._rdtype, self._id = name, rdtype, secrets.randbelow(65536)
        self._wire = query_wire(self._id, name, rdtype)
        self._tries = 0
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None
        self._buffer = b""
        self.trouble: _Reply | None = None
        self._troubled: set[tuple[str, int]] = set()

    @property
    def server(self) -> tuple[str, int]:
        """The server whose turn it is."""
        return self._servers[self._tries % len(self._servers)]

    def ask(self) -> None:
        """Send the question to the server whose turn it is; a fresh socket gives each try a port of its own."""
        self.close()
        wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (self._tries // len(self._servers)))
        self._timer = self._loop.call_later(wait, self._next_server)
        try:
            self._open(socket.SOCK_DGRAM).send(self._wire)
        except OSError as error:
            reason = Reason.INTERNAL if is_shortage(error) else Reason.DNS_TIMEOUT
            self._note(reason, f"name server {self.server[0]} is not to be reached: {error.strerror}")
            return
        self._watch(READABLE, self._read_datagram)

    def close(self) -> None:
        """Stop asking."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _open(self, kind: int) -> socket.socket:
        address, port = self.server
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        self._socket.setblocking(False)
        self._socket.connect_ex((address, port))
        return self._socket

    def _watch(self, events: int, on_event: OnEvent) -> None:
        if self._socket is not None:
            self._loop.watch(self._socket.fileno(), events, on_event)

    def _next_server(self) -> None:
        self._tries += 1
        self.ask()

    def _read_datagram(self, _fd: int, _events: int) -> None:
        try:
            wire = self._socket.recv(65535) if self._socket else b""
        except OSError as error:
            self._note(Reason.DNS_TIMEOUT, f"name server {self.server[0]}: {error.strerror}")
            self._move_on()
            return
        self._take(wire)

    def _take(self, wire: bytes) -> None:
        try:
            answer = dns.message.from_wire(wire, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError):
            return  # not for us, or damaged: the timer goes on
        if not dns.message.make_query(self._name, self._rdtype, id=self._id).is_response(answer):
            return
        if answer.flags & dns.flags.TC and self._socket is not None and self._socket.type == socket.SOCK_DGRAM:
            self._ask_by_stream()
            return
        reply = _read_answer(answer, self._rdtype, self.server[0])
        if reply.reason is Reason.DNS_SERVFAIL:
            self._note(reply.reason, reply.text)
            self._move_on()
            return
        self.close()
        self._on_reply(reply)

    def _note(self, reason: Reason, text: str) -> None:
        self.trouble = _Reply(reason=reason, text=text)
        self._troubled.add(self.server)

    def _move_on(self) -> None:
        """After a server said it cannot answer: the next one, or the end once all have said so."""
        if self._troubled >= set(self._servers) and self.trouble is not None:
            self.close()
            self._on_reply(self.trouble)
        else:
            self._next_server()

    def _ask_by_stream(self) -> None:
        timer, self._timer = self._timer, None
        self.close()
        self._timer, self._buffer = timer, b""
        self._open(socket.SOCK_STREAM)
        self._watch(WRITABLE, self._write_stream)

    def _write_stream(self, _fd: int, _events: int) -> None:
        try:
            if self._socket is not None:
                self._socket.send(struct.pack("!H", len(self._wire)) + self._wire)
        except OSError as error:
            self._note(Reason.DNS_SERVFAIL, f"name server {self.server[0]} by TCP: {error.strerror}")
            self._move_on()
            return
        self._watch(READABLE, self._read_stream)

    def _read_stream(self, _fd: int, _events: int) -> None:
        try:
            piece = self._socket.recv(65535) if self._socket else b""
        except OSError:
            piece = b""
        self._buffer += piece
        if not piece:
            self._note(Reason.DNS_SERVFAIL, f"name server {self.server[0]} closed the connection")
            self._move_on()
        elif len(self._buffer) >= 2 and len(self._buffer) >= 2 + struct.unpack("!H", self._buffer[:2])[0]:
            self._take(self._buffer[2:])


def query_wire(query_id: int, name: dns.name.Name, rdtype: int) -> bytes:
    """A question as it is sent: recursion wanted, answers of up to 1,232 bytes (RFC 1035 4.1, RFC 6891 6.1).

    dnspython says the same in 0.2 ms; a dead name server has thousands of them asked within seconds, and again.
    """
    head = _HEAD.pack(query_id, _RECURSE, 1, 0, 0, 1)
    return head + name.to_digestable() + _QUESTION.pack(rdtype, dns.rdataclass.IN) + _OPT


def _read_answer(answer: dns.message.Message, rdtype: int, server: str) -> _Reply:
    code = answer.rcode()
    if code == dns.rcode.NXDOMAIN:
        return _Reply(reason=Reason.DNS_NXDOMAIN, text=f"{server} says there is no such name")
    if code != dns.rcode.NOERROR or not isinstance(answer, dns.message.QueryMessage):
        return _Reply(reason=Reason.DNS_SERVFAIL, text=f"{server} answered {dns.rcode.to_text(code)}")
    try:
        chain = answer.resolve_chaining()
    except dns.exception.DNSException as error:
        return _Reply(reason=Reason.DNS_SERVFAIL, text=f"{server} answered a chain that leads nowhere: {error}")
    if chain.answer is None:
        kind = dns.rdatatype.to_text(dns.rdatatype.RdataType(rdtype))
        return _Reply(reason=Reason.DNS_NXDOMAIN, text=f"{server} says the name has no {kind} record")
    return _Reply(tuple(record.address for record in chain.answer), float(chain.minimum_ttl))


def _failure(host: str, reply: _Reply) -> Failure:
    return Failure(reply.reason or Reason.INTERNAL, f"{host}: {reply.text}")

"""The shop's DNS server: says that shop.example is this machine, and that no other name exists."""

import asyncio
from asyncio import StreamReader, StreamWriter
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from sample_targets.layout import HOST, Layout

NAMES = ("shop.example.", "www.shop.example.")
TTL_S = 60


def answer(wire: bytes) -> bytes | None:
    """The reply to one question; None to what is no question."""
    try:
        question = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return None
    if question.flags & dns.flags.QR or len(question.question) != 1:
        return None
    reply = dns.message.make_response(question)
    reply.flags |= dns.flags.AA
    asked = question.question[0]
    if asked.name.to_text().lower() not in NAMES:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif asked.rdtype == dns.rdatatype.A:
        reply.answer.append(dns.rrset.from_text(asked.name, TTL_S, dns.rdataclass.IN, dns.rdatatype.A, HOST))
    return reply.to_wire()


class Datagrams(asyncio.DatagramProtocol):
    """DNS over UDP."""

    _transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one datagram."""
        reply = answer(data)
        if reply is not None:
            self._transport.sendto(reply, addr)


async def accept(reader: StreamReader, writer: StreamWriter) -> None:
    """DNS over TCP: messages with their length in front."""
    try:
        while True:
            size = int.from_bytes(await reader.readexactly(2))
            reply = answer(await reader.readexactly(size))
            if reply is None:
                return
            writer.write(len(reply).to_bytes(2) + reply)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def serve_names(layout: Layout) -> None:
    """Listen on UDP and TCP until cancelled."""
    port = layout.port("dns")
    await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, local_addr=(HOST, port))
    async with await asyncio.start_server(accept, HOST, port) as server:
        await server.serve_forever()


def run_names(layout: Layout) -> None:
    """The process of the DNS server."""
    asyncio.run(serve_names(layout))

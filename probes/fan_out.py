"""Which of the nodes behind a public name is the odd one? The name's answer beside each node's, compared. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from probes.probe import Failure, Response
from probes.redact import clean
from probes.result import Reason

CERTIFICATE = "certificate"
"""The word in `compare` that stands for the fingerprint of the certificate."""
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Node:
    """A node's answer, and what is wrong with it."""

    address: str
    response: Response
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is odd about one node."""

    address: str
    reason: Reason
    words: str

    def __str__(self) -> str:
        return f"node {self.address}: {self.words}"


def complain(
    nodes: Sequence[Node], compare: Sequence[str] = (), slow_after_s: float | None = None
) -> tuple[Complaint, ...]:
    """What is odd, at most one complaint a node: it fails, is slow, or says something else than most of the others."""
    found: dict[str, Complaint] = {}
    for node in nodes:
        if node.failure is not None:
            found[node.address] = Complaint(node.address, node.failure.reason, node.failure.message)
        elif slow_after_s is not None and (node.response.duration_s or 0.0) > slow_after_s:
            words = f"slow: {node.response.duration_s or 0.0:.3g} s, more than {slow_after_s:g} s"
            found[node.address] = Complaint(node.address, Reason.VALUE_LIMIT, words)
    sound = [node for node in nodes if node.address not in found]
    for name in compare:
        for complaint in _differing(sound, name):
            found.setdefault(complaint.address, complaint)
    return tuple(found[node.address] for node in nodes if node.address in found)


def tell(complaints: Sequence[Complaint], n_nodes: int) -> str:
    """`node 10.0.0.2:80: status 500 …; 1 of 2 nodes`."""
    named = "; ".join(map(str, complaints[:_NAMED]))
    more = f"; {len(complaints) - _NAMED} more" if len(complaints) > _NAMED else ""
    return f"{named}{more} ({len(complaints)} of {n_nodes} nodes)"


def metrics_of(nodes: Sequence[Node]) -> dict[str, float]:
    """How many there are and answer well, and how long each took, in seconds."""
    metrics = {"nodes": float(len(nodes)), "nodes_up": float(sum(node.failure is None for node in nodes))}
    for node in nodes:
        if node.response.code is not None and node.response.duration_s is not None:
            metrics[f"node_duration_s:{node.address}"] = node.response.duration_s
    return metrics


def _differing(nodes: Sequence[Node], name: str) -> list[Complaint]:
    """Nodes that say something else than most; where no value has a majority, all of them."""
    said = {node.address: _value(node.response, name) for node in nodes}
    counts = Counter(said.values()).most_common()
    if len(counts) < 2:
        return []
    usual, most = counts[0]
    if most * 2 <= len(nodes):
        return [Complaint(address, Reason.BODY_MISMATCH, _words(name, value, None)) for address, value in said.items()]
    return [
        Complaint(address, Reason.BODY_MISMATCH, _words(name, value, usual))
        for address, value in said.items()
        if value != usual
    ]


def _value(response: Response, name: str) -> str:
    if name != CERTIFICATE:
        return clean(response.header(name) or "", 80)
    return response.certificate.fingerprint_sha256[:16] if response.certificate else ""


def _words(name: str, value: str, usual: str | None) -> str:
    what = name if name == CERTIFICATE else f"header {name}"
    shown = repr(value) if value else "missing"
    return f"{what} is {shown}, no majority" if usual is None else f"{what} is {shown}, others say {usual or 'none'!r}"


Judge = Callable[[Response], Failure | None]


def nodes_of(addresses: Sequence[str], responses: Sequence[Response], judge: Judge) -> tuple[Node, ...]:
    """Each address with its answer, judged as the public name's."""
    return tuple(
        Node(address, response, response.failure or judge(response))
        for address, response in zip(addresses, responses, strict=True)
    )


def odd_first(nodes: Sequence[Node], complaints: Mapping[str, Complaint]) -> list[Node]:
    """The nodes that are complained of, then the others."""
    return sorted(nodes, key=lambda node: node.address not in complaints)

"""Which tier of this site is at fault, since when, and who is only waiting for it?"""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import frame, phrase, queries
from dashboard.components import panel as draw
from dashboard.components.request_path import request_path
from dashboard.context import current
from dashboard.path import Node, SitePath, site_path
from dashboard.theme import TIER_WORDS, Look
from probes.result import Result
from probes.store.summary import Summary

_SHOWN = ("hit_ratio", "connections_used_ratio", "connections", "replication_lag_s", "queue_depth", "cpu_used_ratio")


@frame.guarded
def page() -> None:
    """Choose a site; the rest refreshes by itself."""
    context = current()
    if frame.nothing_watched(context):
        return
    sites = [name for name, site in context.estate.sites.items() if site.targets]
    asked = st.query_params.get("site")
    if not frame.known(asked, sites):
        said = f"The configuration has no site {asked!r}."
        draw.panel("unknown", [draw.nothing("Site not found", said)])
    titles = {name: context.estate.sites[name].title for name in sites}
    if len(sites) > 1:
        st.selectbox("Site", sites, format_func=titles.__getitem__, key="site", bind="query-params", width=320)
    _live(st.session_state.get("site") or sites[0])


@st.fragment(run_every=5.0, key="path")
@frame.guarded
def _live(site: str) -> None:
    context = current()
    snapshot = frame.snapshot()
    path = site_path(context.estate, site, snapshot.checks, frame.open_incidents())
    ids = [one.check.id for node in path.nodes.values() for one in node.checks]
    newest = queries.load_newest_results(context.engine, ids)
    summaries = queries.load_all_summaries(context.engine)
    slots = [one.slot_ms for one in (snapshot.checks[check] for check in ids) if one.slot_ms]
    frame.top("path", max(slots, default=None), snapshot.at_ms)
    draw.panel("path-head", [draw.head(f"Request path: {path.title}"), sentence(path)], snapshot.at_ms)
    request_path(drawing(path, newest, summaries))
    draw.panel("path-table", [table(path, summaries)], snapshot.at_ms)


def sentence(path: SitePath) -> draw.Block:
    """The answer in words: the failing tier, since when, who only waits, where to start."""
    if not path.roots:
        return _calm(path)
    root = path.nodes[path.roots[0]]
    worst = root.worst
    look = Look.DOWN if root.look is Look.DOWN else Look.DEGRADED
    verb = "Failing tier" if look is Look.DOWN else "Degraded tier"
    parts: list[draw.Cell] = [
        draw.text(f"{verb}: {TIER_WORDS[root.tier]}. ", strong=True),
        draw.text(f"{root.name}: {worst.message or worst.look.word.lower()} "),
        draw.since(worst.since_ms),
        draw.text(". "),
    ]
    others = [path.nodes[one] for one in path.roots[1:]]
    if others:
        parts.append(draw.text(f"Also in trouble on their own: {_names(others)}. "))
    waiting = path.waiting
    if waiting:
        wait = "waits" if len(waiting) == 1 else "wait"
        whom = root.name if len(path.roots) == 1 else "them"
        parts.append(draw.text(f"{_names(waiting)} only {wait} for {whom}. "))
    well = [TIER_WORDS[tier] for tier, nodes in path.tiers if all(node.look is Look.UP for node in nodes)]
    if well:
        parts.append(draw.text(f"{_list(well)} {'is' if len(well) == 1 else 'are'} healthy. "))
    parts += [draw.text("Start here: ", strong=True), draw.text(root.name, href=frame.check_href(worst.check.id))]
    if path.incident:
        acked = f", {path.incident.acked_by} has it" if path.incident.acked_by else ", nobody has it yet"
        parts += [draw.text(". Incident ", tone=""), draw.text("open", href=frame.incident_href(path.incident.id))]
        parts.append(draw.text(acked + "."))
    return draw.sentence(look, parts)


def _calm(path: SitePath) -> draw.Block:
    unknown = [node for node in path.nodes.values() if node.look is Look.UNKNOWN]
    resting = [node for node in path.nodes.values() if node.look is Look.MAINTENANCE]
    if len(unknown) == len(path.nodes):
        said = "Nothing is known of this site now: no check has a result that is fresh enough."
        return draw.sentence(Look.UNKNOWN, [draw.text(said, strong=True)])
    if unknown:
        said = f"Not known: {_names(unknown)}. "
        return draw.sentence(Look.UNKNOWN, [draw.text(said, strong=True), draw.text("Every other tier answers.")])
    if resting:
        return draw.sentence(Look.MAINTENANCE, [draw.text(f"In maintenance: {_names(resting)}. The rest answers.")])
    return draw.sentence(
        Look.UP, [draw.text("Every tier answers. ", strong=True), draw.text("Nobody waits for anybody.")]
    )


def drawing(path: SitePath, newest: Mapping[str, Result], summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """What the component draws."""
    tiers = []
    for tier, nodes in path.tiers:
        roots = [node for node in nodes if node.target in path.roots]
        look = min((node.look for node in nodes), key=lambda one: one.rank)
        tiers.append(
            {
                "word": TIER_WORDS[tier],
                "look": look.value,
                "root": bool(roots),
                "note": _tier_note(path, nodes, roots, look),
                "nodes": [_node(path, node, newest, summaries) for node in nodes],
            }
        )
    return {"label": f"Request path of {path.title}", "tiers": tiers, "edges": _edges(path)}


def table(path: SitePath, summaries: Mapping[str, Summary]) -> draw.Block:
    """The same as text."""
    rows: list[list[draw.Cell]] = []
    for tier, nodes in path.tiers:
        for index, node in enumerate(nodes):
            worst = node.worst
            waits = _list([path.nodes[one].name for one in node.waits_for])
            summary = summaries.get(worst.check.id)
            rows.append(
                [
                    TIER_WORDS[tier] if index == 0 else "",
                    draw.text(node.name, href=frame.check_href(worst.check.id)),
                    draw.state(node.look),
                    f"{sum(one.look is Look.UP for one in node.checks)} of {len(node.checks)}",
                    phrase.latency(summary.p95_s if summary else None),
                    phrase.uptime(summary.uptime_24h if summary else None),
                    draw.at(worst.since_ms),
                    f"waits for {waits}" if waits else worst.message,
                ]
            )
    columns = ["Tier", "Target", "State", "Checks up", "p95, 24 h", "Uptime, 24 h", "Since", "What it says"]
    return draw.table("", columns, rows)


def _node(path: SitePath, node: Node, newest: Mapping[str, Result], summaries: Mapping[str, Summary]) -> dict[str, Any]:
    worst = node.worst
    return {
        "id": node.target,
        "name": node.name,
        "look": node.look.value,
        "word": node.look.word,
        "text": _node_text(path, node, newest, summaries),
        "href": frame.check_href(worst.check.id),
        "root": node.target in path.roots,
    }


def _node_text(path: SitePath, node: Node, newest: Mapping[str, Result], summaries: Mapping[str, Summary]) -> str:
    worst = node.worst
    if node.waits_for:
        return f"waits for {_list([path.nodes[one].name for one in node.waits_for])}"
    if node.look is not Look.UP:
        return worst.message or node.look.word
    for one in node.checks:
        measured = newest[one.check.id].metrics if one.check.id in newest else {}
        for name in _SHOWN:
            if name in measured:
                return f"{phrase.label(name).lower()} {phrase.metric(name, measured[name])}"
    summary = summaries.get(worst.check.id)
    if summary and summary.p95_s is not None:
        return f"p95 {phrase.latency(summary.p95_s)}"
    return phrase.latency(worst.duration_s)


def _tier_note(path: SitePath, nodes: list[Node], roots: list[Node], look: Look) -> str:
    if roots:
        return f"root cause: {roots[0].name}"
    waiting = sorted({root for node in nodes for root in node.waits_for})
    if waiting:
        return f"waits for {_list([path.nodes[one].name for one in waiting])}"
    return "healthy" if look is Look.UP else look.word.lower()


def _edges(path: SitePath) -> list[dict[str, str]]:
    edges = []
    for above, below, soft in path.edges:
        kind = "soft" if soft else "calm"
        if not soft and path.nodes[above].waits_for:
            if below in path.nodes[above].waits_for:
                kind = "root"
            elif path.nodes[below].waits_for:
                kind = "wait"
        edges.append({"from": above, "to": below, "kind": kind})
    return edges


def _names(nodes: list[Node]) -> str:
    return _list([node.name for node in nodes])


def _list(words: list[str]) -> str:
    if len(words) > 4:
        words = [*words[:3], f"{len(words) - 3} more"]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" and {words[-1]}" if words else ""

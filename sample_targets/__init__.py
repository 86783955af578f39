"""A small real shop back end with switchable faults, to try Backwatch against.

A visitor's request travels through processes of their own, each on a port of its own on loopback:

    visitors → web (HTTP and HTTPS) → load balancer → app-1 | app-2 → SQLite database, cache (RESP), payments
    dns: shop.example is this machine
    invoices: a job every few seconds on the same database, with a heartbeat

    python -m sample_targets run [--data DIR] [--port-base N] [--rate R] [--json-ready]
    python -m sample_targets status [--json]
    python -m sample_targets break FAULT
    python -m sample_targets mend [FAULT]

`run` holds the shop in the foreground and writes `DIR/state.json` once everything accepts connections; `break` and
`mend` find the shop through the same directory (`--data`, else $SHOP_DATA, else /tmp/backwatch-shop). The key `env`
of the state holds the variables that `demo.yaml`, the Backwatch configuration of this shop, refers to. With
$SHOP_HEARTBEAT_URL set, the invoices job posts there about every ten seconds while it succeeds.
"""

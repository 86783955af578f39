"""What can be asked, as a table for the README: made from the classes, so that it cannot rot."""

from probes.probe import Probe, kinds


def markdown_table() -> str:
    """One row a kind: what it asks, the metrics that limits may be set on, the account it needs."""
    rows = ["| kind | asks | metrics | account, driver |", "|---|---|---|---|"]
    rows += [_row(kind) for kind in kinds().values()]
    return "\n".join(rows)


def _row(kind: type[Probe]) -> str:
    asks = (kind.__doc__ or "").strip().splitlines()[0]
    metrics = " ".join(f"`{name}`" for name in kind.metrics)
    account = kind.account if kind.account.startswith("none") or " " not in kind.account else f"`{kind.account}`"
    driver = f"; `pip install 'backwatch[{kind.extra}]'`" if kind.extra else ""
    cells = (f"`{kind.kind}`", asks, metrics, account + driver)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

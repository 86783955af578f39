"""Which checks are in planned maintenance now?"""

from alerts.mute import in_maintenance
from alerts.route import target_labels
from dashboard.context import Context
from dashboard.queries import now_ms


def checks_in_maintenance(context: Context) -> frozenset[str]:
    """Ids of the checks whose target is covered by an open maintenance window."""
    windows = context.alerting.maintenance
    if not windows:
        return frozenset()
    at_ms = now_ms()
    estate = context.estate
    covered = [
        target
        for target in estate.targets.values()
        if target.checks and in_maintenance(windows, target_labels(target.id, estate), at_ms)
    ]
    return frozenset(check for target in covered for check in target.checks)

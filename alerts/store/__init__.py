"""What the alerts keep: their tables and every statement on them."""

from alerts.check_state import CheckState
from alerts.incident import Incident, IncidentEvent, IncidentState, Member, Notification, Pending, Severity, Silence
from alerts.store.check_states import load_check_states
from alerts.store.incidents import (
    acknowledge,
    add_comment,
    load_incident,
    load_incident_events,
    load_incidents,
    resolve,
)
from alerts.store.notifications import load_notifications, load_notifier_states, pending, request_test
from alerts.store.silences import add_silence, expire_silence, load_silences

__all__ = [
    "CheckState",
    "Incident",
    "IncidentEvent",
    "IncidentState",
    "Member",
    "Notification",
    "Pending",
    "Severity",
    "Silence",
    "acknowledge",
    "add_comment",
    "add_silence",
    "expire_silence",
    "load_check_states",
    "load_incident",
    "load_incident_events",
    "load_incidents",
    "load_notifications",
    "load_notifier_states",
    "load_silences",
    "pending",
    "request_test",
    "resolve",
]

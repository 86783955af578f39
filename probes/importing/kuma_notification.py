"""Which notifier tells whom a notification of Uptime Kuma tells?"""

from typing import Any

from probes.importing.draft import Draft, literal
from probes.importing.kuma_file import Row, read_json


def translate_notification(draft: Draft, name: str, row: Row) -> dict[str, Any] | None:
    """The notifier, or None for one that cannot be brought over, which is told."""
    title = f"notification {row['name']}"
    config = read_json(row.get("config"), {})
    kind = config.get("type")
    if not row.get("active", 1):
        draft.lose(title, "it is switched off", whole=True)
    elif kind == "smtp":
        return _email(draft, title, name, config)
    elif kind == "webhook":
        return _webhook(draft, title, name, config)
    else:
        draft.lose(title, f"there is no notifier for {kind}: a webhook or mail may reach the same people", whole=True)
    return None


def _email(draft: Draft, title: str, name: str, config: dict[str, Any]) -> dict[str, Any] | None:
    people = [
        literal(one.strip())
        for key in ("smtpTo", "smtpCC", "smtpBCC")
        for one in str(config.get(key) or "").split(",")
        if one.strip()
    ]
    if not people or not config.get("smtpHost"):
        draft.lose(title, "it names no server or nobody to write to", whole=True)
        return None
    security = "tls" if config.get("smtpSecure") else "none" if config.get("smtpIgnoreSTARTTLS") else "starttls"
    if security == "starttls":
        draft.lose(title, "mail goes out over STARTTLS only; for a server without it write security: none")
    if config.get("smtpIgnoreTLSError"):
        draft.lose(title, "the mail server's certificate is verified; name its authority in smtp.ca_file")
    if config.get("customSubject") or config.get("customBody"):
        draft.lose(title, "its own subject and text are not brought over")
    smtp: dict[str, Any] = {"host": config["smtpHost"], "security": security}
    if config.get("smtpPort"):
        smtp["port"] = int(config["smtpPort"])
    if config.get("smtpUsername"):
        smtp["username"] = literal(config["smtpUsername"])
        smtp["password"] = draft.secret(f"{name}-smtp-password", str(config.get("smtpPassword") or ""))
    sender = {"from": literal(config["smtpFrom"])} if config.get("smtpFrom") else {}
    return {"kind": "email", "to": people, **sender, "smtp": smtp}


def _webhook(draft: Draft, title: str, name: str, config: dict[str, Any]) -> dict[str, Any] | None:
    if not config.get("webhookURL"):
        draft.lose(title, "it names no URL", whole=True)
        return None
    draft.lose(title, "the body is that of Alertmanager's webhook (version 4), not Uptime Kuma's")
    if config.get("webhookAdditionalHeaders"):
        draft.lose(title, "its additional headers are not sent")
    return {"kind": "webhook", "url": draft.secret(f"{name}-url", config["webhookURL"]), "format": "alertmanager"}

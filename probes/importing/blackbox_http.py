"""What does a module of blackbox_exporter for HTTP ask and expect, as an http check?"""

from typing import Any

from probes.importing.draft import Draft, literal, status_patterns

Check = dict[str, Any]
_VERSIONS = {"HTTP/1.1": "1.1", "HTTP/2": "2", "HTTP/2.0": "2", "HTTP/3": "3", "HTTP/3.0": "3"}
_LOST = {
    "oauth2": "log-in by OAuth is not brought over",
    "body_file": "the request body of a file is not brought over",
    "fail_if_body_json_matches_cel": "a CEL expression is not brought over: see `expect: {body: {json: …}}`",
    "fail_if_body_json_not_matches_cel": "a CEL expression is not brought over: see `expect: {body: {json: …}}`",
    "proxy_connect_header": "headers for the proxy are not brought over",
    "proxy_from_environment": "the environment's proxy is never used: write `proxy`",
}


def translate_http(draft: Draft, target: str, options: dict[str, Any]) -> Check:
    """The check, without its times."""
    url = target if "://" in target else f"http://{target}"
    check: Check = {"kind": "http", "url": draft.url(f"{target}-url", url)}
    if (method := str(options.get("method") or "GET").upper()) != "GET":
        check["method"] = method
    if options.get("body"):
        check["body"] = literal(str(options["body"]))
    if headers := _headers(draft, target, options):
        check["headers"] = headers
    check |= _credentials(draft, target, options) | _transport(draft, target, options)
    for key, why in _LOST.items():
        if options.get(key):
            draft.lose(target, why)
    expect = _expect(draft, target, url, options)
    return check | ({"expect": expect} if expect else {})


def _headers(draft: Draft, target: str, options: dict[str, Any]) -> dict[str, str]:
    plain = {str(key): str(value) for key, value in (options.get("headers") or {}).items()}
    for key, entry in (options.get("http_headers") or {}).items():
        values = [*entry.get("values", []), *entry.get("secrets", [])]
        if values:
            plain[str(key)] = ", ".join(map(str, values))
        if entry.get("files"):
            draft.lose(target, f"header {key} stands in a file: write ${{file:{entry['files'][0]}}}")
    if options.get("compression") and "accept-encoding" not in {key.lower() for key in plain}:
        draft.lose(target, "whether the answer is compressed is not looked at")
    return draft.headers(target, plain)


def _credentials(draft: Draft, target: str, options: dict[str, Any]) -> Check:
    auth = options.get("basic_auth") or {}
    if auth.get("username"):
        if auth.get("password_file"):
            password = f"${{file:{auth['password_file']}}}"
        else:
            password = draft.secret(f"{target}-password", str(auth.get("password") or ""))
        return {"auth": {"scheme": "basic", "username": literal(str(auth["username"])), "password": password}}
    bearer = options.get("authorization") or {}
    token = options.get("bearer_token") or bearer.get("credentials")
    file = options.get("bearer_token_file") or bearer.get("credentials_file")
    if token or file:
        secret = draft.secret(f"{target}-token", str(token)) if token else f"${{file:{file}}}"
        return {"auth": {"scheme": "bearer", "token": secret}}
    return {}


def _transport(draft: Draft, target: str, options: dict[str, Any]) -> Check:
    check: Check = {}
    tls = options.get("tls_config") or {}
    files = (("ca_file", "ca_file"), ("client_cert_file", "cert_file"), ("client_key_file", "key_file"))
    check |= {key: str(tls[name]) for key, name in files if tls.get(name)}
    if tls.get("insecure_skip_verify"):
        check["verify"] = False
    if tls.get("server_name"):
        draft.lose(target, "another name for TLS (server_name) is not brought over: see `connect_to`")
    if options.get("follow_redirects") is False or options.get("no_follow_redirects"):
        check["max_redirects"] = 0
    if options.get("proxy_url"):
        check["proxy"] = draft.url(f"{target}-proxy", str(options["proxy_url"]))
    if options.get("ip_protocol_fallback") is False:
        check["family"] = "ipv4" if options.get("preferred_ip_protocol") == "ip4" else "ipv6"
    versions = [_VERSIONS.get(str(one)) for one in options.get("valid_http_versions") or ()]
    if len(versions) == 1 and versions[0]:
        check["http_version"] = versions[0]
    return check


def _expect(draft: Draft, target: str, url: str, options: dict[str, Any]) -> Check:
    expect: Check = {}
    codes = [int(code) for code in options.get("valid_status_codes") or () if str(code).isdigit()]
    patterns = status_patterns((code, code) for code in codes)
    if patterns:
        expect["status"] = patterns
    wanted, unwanted = options.get("fail_if_body_not_matches_regexp"), options.get("fail_if_body_matches_regexp")
    body: Check = {}
    if wanted:
        body["regex"] = literal(str(wanted[0]))
    if len(wanted or ()) > 1:
        draft.lose(target, "of the patterns that the body must have, only the first is looked for")
    for pattern in unwanted or ():
        plain = str(pattern)
        if "not_contains" not in body and not set(plain) & set("\\^$.|?*+()[]{}"):
            body["not_contains"] = literal(plain)
        else:
            draft.lose(target, f"that the body must not match {plain} is not brought over")
    if body:
        expect["body"] = body
    headers = {
        str(one["header"]): {"regex": literal(str(one.get("regexp", "")))}
        for one in options.get("fail_if_header_not_matches") or ()
    }
    if headers:
        expect["headers"] = headers
    for one in options.get("fail_if_header_matches") or ():
        draft.lose(target, f"that header {one.get('header')} must not match is not brought over")
    if options.get("fail_if_not_ssl") and not url.startswith("https:"):
        draft.lose(target, "that the answer must come over TLS is not looked at: write the https URL")
    if options.get("fail_if_ssl"):
        draft.lose(target, "that the answer must not come over TLS is not looked at")
    return expect

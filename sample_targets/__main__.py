"""The command line: `python -m sample_targets run | status | break FAULT | mend [FAULT]`."""

import argparse
import json
import logging
import sys
import time
from pathlib import Path

from sample_targets.fault import Fault, UnknownFault, parse_fault
from sample_targets.layout import DEFAULT_DATA, DEFAULT_PORT_BASE, DEFAULT_RATE, Layout, find_data
from sample_targets.state import NoShopRuns, ShopRefused, read_state
from sample_targets.supervisor import Supervisor

PATIENCE_S = 10.0
# The parts look for faults this often; after it, a fault that the supervisor confirmed holds everywhere.
SETTLE_S = 0.2


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 if it succeeded, 2 if it could not."""
    given = _parse(arguments)
    try:
        return COMMANDS[given.command](given)
    except (NoShopRuns, ShopRefused, UnknownFault) as error:
        print(f"sample_targets: {error}", file=sys.stderr)
        return 2


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sample_targets",
        description="A small real shop back end with switchable faults.",
        epilog="faults:\n" + "\n".join(f"  {fault:<14}{fault.effect}" for fault in Fault),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--data", type=Path, help="the shop's directory (default: $SHOP_DATA, else /tmp/backwatch-shop)")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", parents=[place], help="hold a shop until Ctrl-C")
    run.add_argument("--port-base", type=int, default=DEFAULT_PORT_BASE, help="first of eight ports (%(default)s)")
    run.add_argument("--rate", type=float, default=DEFAULT_RATE, help="visitors' requests per second (%(default)s)")
    run.add_argument("--json-ready", action="store_true", help="print the state as one line of JSON when ready")
    status = commands.add_parser("status", parents=[place], help="where the shop listens and what is broken")
    status.add_argument("--json", action="store_true", help="the state as JSON")
    breaking = commands.add_parser("break", parents=[place], help="switch a fault on")
    breaking.add_argument("fault")
    mending = commands.add_parser("mend", parents=[place], help="switch a fault off, or all")
    mending.add_argument("fault", nargs="?")
    given = parser.parse_args(arguments)
    if given.command == "run" and (given.rate <= 0 or not 0 < given.port_base < 65_500):
        parser.error("--rate must be above 0, --port-base between 1 and 65499")
    return given


def _run(given: argparse.Namespace) -> int:
    layout = Layout(find_data(given.data), given.port_base, given.rate)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")

    def announce() -> None:
        print(json.dumps(read_state(layout.data)) if given.json_ready else _summary(layout), flush=True)

    Supervisor(layout).run(announce)
    return 0


def _summary(layout: Layout) -> str:
    listeners = "\n".join(f"  {name:<10}{url}" for name, url in layout.urls.items())
    moved = "" if layout.env == Layout(DEFAULT_DATA).env else "".join(f"\n  {k}={v}" for k, v in layout.env.items())
    return (
        f"shop open in {layout.data}\n{listeners}\n  database  {layout.database}\n  CA        {layout.ca_file}\n"
        f"visitors: {layout.rate:g} requests/s\n"
        f"break it with: python -m sample_targets break FAULT --data {layout.data}"
        + (f"\nenvironment for demo.yaml:{moved}" if moved else "")
    )


def _status(given: argparse.Namespace) -> int:
    state = read_state(find_data(given.data))
    if given.json:
        print(json.dumps(state, indent=2))
        return 0
    print(f"shop open in {state['data']}, supervisor {state['pid']}")
    for name, url in state["urls"].items():
        print(f"  {name:<10}{url}")
    for name in state["faults"]:
        print(f"broken: {name}: {Fault(name).effect}")
    if not state["faults"]:
        print("nothing is broken")
    return 0


def _break(given: argparse.Namespace) -> int:
    fault, data = parse_fault(given.fault), find_data(given.data)
    read_state(data)
    Layout(data).faults.switch_on(fault)
    _await(data, {fault}, on=True)
    print(f"broken: {fault}: {fault.effect}")
    return 0


def _mend(given: argparse.Namespace) -> int:
    faults, data = {parse_fault(given.fault)} if given.fault else set(Fault), find_data(given.data)
    read_state(data)
    Layout(data).faults.switch_off(faults)
    _await(data, faults, on=False)
    print(f"mended: {given.fault or 'everything'}")
    return 0


def _await(data: Path, faults: set[Fault], *, on: bool) -> None:
    """Until the supervisor says so. Raises ShopRefused if it does not."""
    deadline_s = time.monotonic() + PATIENCE_S
    while any((fault in read_state(data)["faults"]) != on for fault in faults):
        if time.monotonic() > deadline_s:
            raise ShopRefused(f"the shop in {data} did not follow within {PATIENCE_S:g} s; see {data / 'log'}")
        time.sleep(0.05)
    time.sleep(SETTLE_S)


COMMANDS = {"run": _run, "status": _status, "break": _break, "mend": _mend}

if __name__ == "__main__":
    sys.exit(main())

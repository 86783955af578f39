"""Where one running shop keeps its files and which port belongs to whom."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sample_targets.fault import FaultBoard

HOST = "127.0.0.1"
DEFAULT_PORT_BASE = 18080
DEFAULT_RATE = 15.0
# A fixed place rather than the platform's temporary directory: demo.yaml has to name it as the default of SHOP_DATA.
DEFAULT_DATA = Path("/tmp/backwatch-shop")  # noqa: S108 - made with mode 0700; somebody else's directory is refused
# What the shop shows the payment service; both know it from here.
PAYMENT_KEY = "sk_test_sample_shop"
LISTENERS = ("web", "https", "lb", "app-1", "app-2", "cache", "payments", "dns")


def find_data(given: Path | None = None, env: Mapping[str, str] = os.environ) -> Path:
    """The data directory: as given, else $SHOP_DATA, else the default."""
    if given is not None:
        return given.absolute()
    return Path(env["SHOP_DATA"]).absolute() if env.get("SHOP_DATA") else DEFAULT_DATA


@dataclass(frozen=True, slots=True)
class Layout:
    """One shop on this machine: a directory, a run of ports, and the rate of its visitors in requests per second."""

    data: Path
    port_base: int = DEFAULT_PORT_BASE
    rate: float = DEFAULT_RATE

    def port(self, listener: str) -> int:
        """The port of one of LISTENERS."""
        return self.port_base + LISTENERS.index(listener)

    @property
    def ports(self) -> dict[str, int]:
        """All listeners with their ports."""
        return {listener: self.port(listener) for listener in LISTENERS}

    @property
    def urls(self) -> dict[str, str]:
        """What a person would type to reach each listener."""
        schemes = {"https": "https://localhost", "cache": f"redis://{HOST}", "dns": f"dns://{HOST}"}
        return {name: f"{schemes.get(name, f'http://{HOST}')}:{port}" for name, port in self.ports.items()}

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data / "shop.db"

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority that signed the front's certificate."""
        return self.data / "ca.pem"

    @property
    def faults(self) -> FaultBoard:
        """What is broken in this shop."""
        return FaultBoard(self.data / "faults")

    @property
    def env(self) -> dict[str, str]:
        """The variables demo.yaml refers to, as they are for this shop."""
        ports = {f"SHOP_PORT_{name.upper().replace('-', '_')}": str(port) for name, port in self.ports.items()}
        return {"SHOP_DATA": str(self.data), **ports}

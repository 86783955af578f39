"""How long the alerts wait for what."""

from pydantic import BaseModel, ConfigDict, Field

from probes.duration import Duration


class Timings(BaseModel):
    """Section `alerts`: waits and windows, in seconds. The defaults are meant to be left alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group_wait: Duration = Field(default=10.0, ge=0, description="before a page is sent, for its root to be found")
    group_wait_warning: Duration = Field(default=30.0, ge=0, description="the same for a warning")
    group_interval: Duration = Field(default=300.0, ge=0, description="between messages about a changing incident")
    repeat_interval: Duration = Field(default=4 * 3600.0, ge=60, description="between reminders of a page")
    repeat_interval_warning: Duration = Field(default=24 * 3600.0, ge=60, description="between reminders of a warning")
    reopen_window: Duration = Field(default=600.0, ge=0, description="a root that fails again reopens its incident")
    reroot_window: Duration = Field(default=600.0, ge=0, description="a deeper failure takes over the incident")
    promote_after: Duration = Field(default=60.0, ge=0, description="after the root is well and its dependents are not")
    external_url: str | None = Field(
        default=None, description="where people reach the dashboard, for links in messages"
    )

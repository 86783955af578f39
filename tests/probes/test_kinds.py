"""What every kind promises, whoever wrote it."""

import importlib
import inspect
import re

import pytest

from probes.probe import BlockingProbe, ConversationProbe, Expect, Metric, Options, kinds

KINDS = dict(kinds())
each_kind = pytest.mark.parametrize("cls", KINDS.values(), ids=KINDS.keys())
# A metric's unit stands in its name, or it is a plain count or a yes/no.
UNITLESS = re.compile(r"^[a-z][a-z0-9_]*(:\*|_\*)?$|^\*$")


def test_the_kinds_of_the_tiers_are_there():
    expected = {"tcp", "tls", "dns", "postgresql", "mysql", "sqlite", "redis", "memcached", "host", "heartbeat"}
    assert expected <= KINDS.keys()


@each_kind
def test_it_is_blocking_or_a_conversation(cls):
    assert issubclass(cls, BlockingProbe) != issubclass(cls, ConversationProbe)


@each_kind
def test_every_option_and_expectation_is_described(cls):
    assert issubclass(cls.Options, Options)
    assert issubclass(cls.Expect, Expect)
    for model in (cls.Options, cls.Expect):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no description"


@each_kind
def test_options_are_frozen_and_refuse_unknown_keys(cls):
    for model in (cls.Options, cls.Expect):
        assert model.model_config["extra"] == "forbid"
        assert model.model_config["frozen"]
        model.model_json_schema()


@each_kind
def test_no_metric_has_the_name_of_an_expectation(cls):
    """`expect:` holds both: a limit on a metric is written under the metric's name."""
    assert not cls.metrics.keys() & cls.Expect.model_fields.keys()


@each_kind
def test_metrics_are_declared_with_words(cls):
    for name, metric in cls.metrics.items():
        assert isinstance(metric, Metric)
        assert metric.help, name
        assert UNITLESS.match(name), name


@each_kind
def test_it_says_what_it_is_and_which_account_it_needs(cls):
    assert inspect.getdoc(cls)
    assert importlib.import_module(cls.__module__).__doc__
    assert cls.account


@each_kind
def test_its_driver_is_known_by_its_extra(cls):
    if cls.extra is not None:
        assert cls.driver, f"{cls.kind} names the extra {cls.extra} but no module to look for"


def test_kinds_are_listed_without_any_driver():
    """A driver that is not installed must not take the other kinds with it."""
    import subprocess
    import sys

    code = (
        "import sys\n"
        "for name in ('psycopg', 'pymysql', 'redis', 'pymemcache'): sys.modules[name] = None\n"
        "from probes.probe import kinds\n"
        "print(*kinds())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"postgresql", "mysql", "redis", "memcached"} <= set(done.stdout.split())

"""Settings: precedence, and one clear line for each wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.runtime.options import load, parser
from tidemill.runtime.settings import SettingsError


def test_flags_win_over_environment_and_that_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "operator.yaml"
    config.write_text("workers: 2\nhttpPort: 1000\nwatch: {namespaces: [a]}\nstore: {bucket: from-file}\n")
    environment = {"TIDEMILL_OPERATOR_HTTP_PORT": "2000", "TIDEMILL_OPERATOR_STORE_BUCKET": "from-env", "PATH": "/"}
    settings = load(["--config", str(config), "--store-bucket", "from-flag"], environment)
    assert (settings.workers, settings.http_port, settings.store.bucket) == (2, 2000, "from-flag")
    assert settings.watch.namespaces == ("a",)


def test_lists_and_maps_come_as_text() -> None:
    settings = load(["--watch-namespaces", "a, b", "--children-pod-labels", "team=x,tier=y"], {})
    assert settings.watch.namespaces == ("a", "b")
    assert settings.for_builders().pod_labels == {"team": "x", "tier": "y"}


def test_builders_get_their_part() -> None:
    built = load(["--images-worker", "w", "--store-endpoint", "http://s3:8333"], {}).for_builders()
    assert (built.images.worker, built.store.endpoint, built.cluster_domain) == ("w", "http://s3:8333", "cluster.local")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red", "colour: no such setting: --help lists what there is"),
        ("workerz: 3", "workerz: no such setting: did you mean workers?"),
        ("watch: {resyncIntervall: 3}", "watch.resyncIntervall: no such setting: did you mean watch.resyncInterval?"),
        ("watch: everything", "watch: must be a mapping of settings (got 'everything')"),
        ("client: {qps: -1}", "client.qps: Input should be greater than or equal to 0 (got -1)"),
        ("client: {burst: 0}", "client.burst: Input should be greater than or equal to 1"),
        ("workers: [3]", "workers: Input should be a valid integer (got [3])"),
        ("workers:", "workers: Input should be a valid integer (got None)"),
        ("{workers: 0, colour: red}", "workers: Input should be greater than or equal to 1 (got 0), from"),
        ("watch: {resyncInterval: -1}", "watch.resyncInterval: Input should be greater than 0"),
        ("workers: many", "workers: Input should be a valid integer"),
        ("progress: {interval: 1}", "progress.interval: Input should be greater than or equal to 3"),
        ("lease: {duration: 5}", "lease: retryPeriod must be less than renewDeadline"),
        ("watch: {namespaces: [Wrong_Name]}", "watch.namespaces.0: String should match pattern"),
        ("prometheus: {url: prometheus:9090}", "prometheus.url: String should match pattern"),
        ("log: {level: loud}", "log.level: Input should be 'debug', 'info', 'warning' or 'error'"),
        ("shard: {count: 2, index: 2}", "shard.index: 2 must be less than shard.count, 2"),
        ("shard: {count: 17}", "shard.count: Input should be less than or equal to 16"),
        ("{shard: {count: 2}, watch: {namespaces: [a]}}", "shard.count: shares are of all namespaces"),
        ("{shard: {count: 2}, lease: {enabled: false}}", "shard.count: more than one needs lease.enabled"),
        ("- a list", "must be a mapping of settings"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "operator.yaml"
    config.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(["--config", str(config)], {})
    assert message in str(caught.value)
    assert str(config) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (
            [],
            {"COLOUR": "red"},
            "environment variable TIDEMILL_OPERATOR_COLOUR: no such setting: --help lists what there is",
        ),
        ([], {"WORKER": "3"}, "TIDEMILL_OPERATOR_WORKER: no such setting: did you mean TIDEMILL_OPERATOR_WORKERS?"),
        (["--wokers=3"], {}, "flag --wokers: no such setting: did you mean --workers?"),
        (["--worker", "3"], {}, "flag --worker: no such setting: did you mean --workers?"),
        (["--workers"], {}, "argument --workers: expected one argument: --help lists the flags"),
        (["start"], {}, "flag start: no such setting: --help lists what there is"),
        (["--config=/none"], {}, "--config: /none: No such file or directory: give a YAML file"),
        (["--config=/"], {}, "--config: /: Is a directory"),
        (
            ["--children-pod-labels=team"],
            {},
            "children.podLabels: 'team' is not key=value, from flag --children-pod-labels",
        ),
    ],
)
def test_what_is_no_setting_is_refused_with_what_was_meant(
    arguments: list[str], variables: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(arguments, {f"TIDEMILL_OPERATOR_{name}": value for name, value in variables.items()})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_wrong_setting_says_where_it_came_from(tmp_path: Path) -> None:
    config = tmp_path / "operator.yaml"
    config.write_text("workers: 2\nhttpPort: -1\nlease: {duration: 20}\n")
    variables = {"TIDEMILL_OPERATOR_CLIENT_QPS": "-1", "TIDEMILL_OPERATOR_LEASE_RETRY_PERIOD": "10"}
    with pytest.raises(SettingsError) as caught:
        load(["--config", str(config), "--workers=0"], variables)
    problems = str(caught.value).split("; ")
    assert problems == [
        "workers: Input should be greater than or equal to 1 (got '0'), from flag --workers",
        f"httpPort: Input should be greater than or equal to 0 (got -1), from {config}",
        "client.qps: Input should be greater than or equal to 0 (got '-1'), "
        "from environment variable TIDEMILL_OPERATOR_CLIENT_QPS",
        "lease: retryPeriod must be less than renewDeadline, and that less than duration, "
        f"from {config} and environment variable TIDEMILL_OPERATOR_LEASE_RETRY_PERIOD",
    ]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="x: not YAML"):
        load(["--config", str(tmp_path / "x")], {})


def test_settings_know_where_they_came_from(tmp_path: Path) -> None:
    config = tmp_path / "operator.yaml"
    config.write_text("watch: {namespaces: [a]}\nlease: {namespace: b}\n")
    settings = load(["--config", str(config), "--lease-namespace=c"], {})
    assert settings.origin("watch.namespaces") == str(config)
    assert settings.origin("lease.namespace") == "flag --lease-namespace"
    assert settings.origin("workers") == ""


def test_every_setting_has_a_help_text() -> None:
    undocumented = [a.option_strings[0] for a in parser()._actions if not (a.help or "").strip()]
    assert undocumented == []

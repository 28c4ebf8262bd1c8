"""Settings: precedence, and one clear line for each wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.runtime.settings import SettingsError, load, parser


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
        ("colour: red", "colour: no such setting"),
        ("watch: {resyncInterval: -1}", "watch.resyncInterval: Input should be greater than 0"),
        ("workers: many", "workers: Input should be a valid integer"),
        ("progress: {interval: 1}", "progress.interval: Input should be greater than or equal to 3"),
        ("lease: {duration: 5}", "lease: Value error, retryPeriod must be less than renewDeadline"),
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


def test_an_unknown_variable_of_ours_is_refused() -> None:
    with pytest.raises(SettingsError, match="TIDEMILL_OPERATOR_COLOUR: no such setting"):
        load([], {"TIDEMILL_OPERATOR_COLOUR": "red"})


def test_every_setting_has_a_help_text() -> None:
    undocumented = [a.option_strings[0] for a in parser()._actions if not (a.help or "").strip()]
    assert undocumented == []

//! Charter: the tap's counters as `stats.json`, for the agent's metrics and for tests.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use serde_json::{json, Map, Value as Json};

use super::model::{Counters, ModelTap};
use super::record::unix_ns;

fn counters(found: &Counters) -> Map<String, Json> {
    let mut map: Map<String, Json> =
        found.each().iter().map(|(name, counter)| ((*name).to_owned(), json!(counter.load(Relaxed)))).collect();
    map.insert("dropped".to_owned(), json!(found.dropped()));
    map
}

/// `unloaded` sums up the models that are gone; a model loaded again starts from zero at its `since_ns`.
pub fn render(models: &[Arc<ModelTap>], unloaded: &Counters, disk_bytes: u64, max_bytes: u64) -> Json {
    let active = models.iter().filter(|model| model.rate() > 0.0 || model.counters.seen.load(Relaxed) > 0);
    let entries: Map<String, Json> = active
        .map(|model| {
            let mut entry = counters(&model.counters);
            entry.insert("rate".to_owned(), json!(model.rate()));
            entry.insert("since_ns".to_owned(), json!(model.since_ns));
            (model.name().to_owned(), Json::Object(entry))
        })
        .collect();
    json!({
        "pid": std::process::id(),
        "time_ns": unix_ns(),
        "disk_bytes": disk_bytes,
        "max_bytes": max_bytes,
        "unloaded": counters(unloaded),
        "models": entries,
    })
}

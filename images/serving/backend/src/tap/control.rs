//! Charter: the control file: the agent writes which share of each model's requests to sample, we follow.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value as Json;

use crate::error::{Failure, Result};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    models: HashMap<String, f64>,
    default: f64,
}

impl Rates {
    pub fn of(&self, model: &str) -> f64 {
        self.models.get(model).copied().unwrap_or(self.default)
    }

    fn parse(text: &[u8]) -> std::result::Result<Self, String> {
        let json: Json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let default = json.get("default").map_or(Ok(0.0), |found| rate(found, "default"))?;
        let listed = json.get("models").and_then(Json::as_object).into_iter().flatten();
        let models = listed.map(|(name, entry)| {
            let field = format!("models.{name}.rate");
            let found = entry.get("rate").ok_or_else(|| format!("{field} is missing"))?;
            Ok((name.clone(), rate(found, &field)?))
        });
        Ok(Self { models: models.collect::<std::result::Result<_, String>>()?, default })
    }
}

fn rate(json: &Json, field: &str) -> std::result::Result<f64, String> {
    match json.as_f64() {
        Some(found) if (0.0..=1.0).contains(&found) => Ok(found),
        _ => Err(format!("{field} is {json}; expected a number from 0 to 1")),
    }
}

/// The rates of `<folder>/control.json`; `None` when there is no such file.
pub fn load(folder: &Path) -> Result<Option<Rates>> {
    let path = folder.join("control.json");
    match std::fs::read(&path) {
        Ok(text) => {
            Rates::parse(&text).map(Some).map_err(|reason| Failure::invalid(format!("{}: {reason}", path.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::internal(format!("{}: {error}", path.display()))),
    }
}

/// Notices that the file was replaced or rewritten: its inode, size or time of change differ.
#[derive(Default)]
pub struct Watch {
    stamp: Option<(u64, u64, i64, i64)>,
}

impl Watch {
    pub fn changed(&mut self, folder: &Path) -> bool {
        let found = std::fs::metadata(folder.join("control.json")).ok();
        let stamp = found.map(|m| (m.ino(), m.len(), m.mtime(), m.mtime_nsec()));
        let changed = stamp != self.stamp;
        self.stamp = stamp;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_default() {
        let rates = Rates::parse(br#"{"models": {"a": {"rate": 0.5}}, "default": 0.25}"#).unwrap();
        assert_eq!((rates.of("a"), rates.of("b")), (0.5, 0.25));
        assert_eq!(Rates::parse(b"{}").unwrap().of("a"), 0.0);
    }

    #[test]
    fn a_wrong_file_names_the_field() {
        assert!(Rates::parse(br#"{"models": {"a": {"rate": 2}}}"#).unwrap_err().contains("models.a.rate"));
        assert!(Rates::parse(br#"{"models": {"a": {}}}"#).unwrap_err().contains("missing"));
        assert!(Rates::parse(br#"{"default": "x"}"#).unwrap_err().contains("default"));
        assert!(Rates::parse(b"{").is_err());
    }
}

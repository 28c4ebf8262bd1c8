//! Charter: the session options that a model's configuration asks for, under the same parameter names as NVIDIA's
//! onnxruntime backend; the defaults favour many small models in one server.

use serde_json::Value as Json;

use crate::config::{integer, parameter};
use crate::error::{Failure, Result};

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub intra_threads: usize,
    pub inter_threads: usize,
    pub parallel: bool,
    /// NVIDIA's default is on. Off here: an arena never gives memory back, and a server holds thousands of models.
    pub arena: bool,
    /// NVIDIA's default is on. Off here: a plan is kept for each new input shape, without a bound.
    pub memory_pattern: bool,
    pub level: Level,
    /// Every parameter named `session.…` goes to ONNX Runtime as it is.
    pub entries: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    Disabled,
    Basic,
    Extended,
    All,
}

impl Options {
    pub fn parse(json: &Json) -> Result<Self> {
        let entries = json.get("parameters").and_then(Json::as_object).into_iter().flatten();
        let entries = entries.filter(|(key, _)| key.starts_with("session."));
        let entries = entries.filter_map(|(key, _)| Some((key.clone(), parameter(json, key)?.to_owned())));
        Ok(Self {
            intra_threads: threads(json, "intra_op_thread_count")?,
            inter_threads: threads(json, "inter_op_thread_count")?,
            parallel: match parameter(json, "execution_mode").unwrap_or("0") {
                "0" => false,
                "1" => true,
                other => return Err(wrong("execution_mode", other, "0 (sequential) or 1 (parallel)")),
            },
            arena: flag(json, "enable_mem_arena")?,
            memory_pattern: flag(json, "enable_mem_pattern")?,
            level: match integer(json.pointer("/optimization/graph/level")).unwrap_or(0) {
                -1 => Level::Basic,
                1 => Level::Extended,
                2 => Level::Disabled,
                _ => Level::All,
            },
            entries: entries.collect(),
        })
    }
}

/// A thread count; absent or 0 means 1, so that threads do not multiply with the number of models.
fn threads(json: &Json, key: &str) -> Result<usize> {
    let Some(text) = parameter(json, key) else { return Ok(1) };
    match text.trim().parse::<usize>() {
        Ok(count) if count <= 1024 => Ok(count.max(1)),
        _ => Err(wrong(key, text, "a whole number from 0 to 1024")),
    }
}

fn flag(json: &Json, key: &str) -> Result<bool> {
    match parameter(json, key).map(str::to_ascii_lowercase).as_deref() {
        None | Some("0" | "false" | "off") => Ok(false),
        Some("1" | "true" | "on") => Ok(true),
        Some(other) => Err(wrong(key, other, "0 or 1")),
    }
}

fn wrong(key: &str, value: &str, expected: &str) -> Failure {
    Failure::invalid(format!("config.pbtxt: parameters '{key}' is '{value}'; expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_are_small() {
        let options = Options::parse(&json!({})).unwrap();
        assert_eq!((options.intra_threads, options.inter_threads), (1, 1));
        assert!(!options.arena && !options.memory_pattern && !options.parallel);
        assert_eq!(options.level, Level::All);
    }

    #[test]
    fn parameters_override() {
        let options = Options::parse(&json!({
            "optimization": {"graph": {"level": "-1"}},
            "parameters": {
                "intra_op_thread_count": {"string_value": "4"},
                "enable_mem_arena": {"string_value": "true"},
                "session.set_denormal_as_zero": {"string_value": "1"},
            },
        }))
        .unwrap();
        assert_eq!(options.intra_threads, 4);
        assert!(options.arena);
        assert_eq!(options.level, Level::Basic);
        assert_eq!(options.entries, vec![("session.set_denormal_as_zero".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn a_wrong_value_is_named() {
        let json = json!({"parameters": {"execution_mode": {"string_value": "2"}}});
        assert!(Options::parse(&json).unwrap_err().message.contains("execution_mode"));
    }
}

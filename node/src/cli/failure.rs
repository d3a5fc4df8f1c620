//! Failures of a command: a text for people and an exit code for scripts.

use std::fmt;
use std::process::ExitCode;

use serde_json::Value;

/// Exit codes; the table in the module documentation is their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Refused = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Access = 5,
    Unavailable = 6,
    TimedOut = 7,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

/// A failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    lines: Vec<String>,
}

impl Failure {
    /// A failure in one line.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            lines: vec![text.into()],
        }
    }

    /// The same with one more line.
    pub fn and(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// What the API answered instead of a result: title, detail, code and the fields that are wrong.
    pub fn from_problem(status: u16, body: &Value) -> Self {
        let part = |name: &str| body.get(name).and_then(Value::as_str);
        let stable = part("code").unwrap_or("unknown");
        let title = part("title").map_or_else(|| format!("HTTP status {status}"), str::to_owned);
        let mut lines = vec![format!("{title} ({stable})")];
        lines.extend(part("detail").map(str::to_owned));
        for error in body.get("errors").and_then(Value::as_array).into_iter().flatten() {
            let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
            lines.push(format!("{}: {} ({})", part("pointer"), part("detail"), part("code")));
        }
        Self {
            code: code_of(status, stable),
            lines,
        }
    }
}

/// Exit code of an HTTP status; of the refusals, those that a repetition after a fresh read cures are conflicts.
fn code_of(status: u16, stable: &str) -> Code {
    match (status, stable) {
        (400 | 413 | 415 | 422 | 428, _) => Code::Usage,
        (401 | 403, _) => Code::Access,
        (404, _) => Code::NotFound,
        (412, _) | (409, "duplicate-name" | "switch-in-progress") => Code::Conflict,
        (429 | 502 | 503, _) => Code::Unavailable,
        (408 | 504, _) => Code::TimedOut,
        _ => Code::Refused,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.lines.iter();
        if let Some(first) = lines.next() {
            writeln!(f, "error: {first}")?;
        }
        lines.try_for_each(|line| writeln!(f, "  {line}"))
    }
}

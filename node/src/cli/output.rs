//! Printing: the API's JSON as a table, as JSON or as YAML.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::Format;
use super::failure::{Code, Failure};

/// A column: its heading and the JSON pointer of its cells; several pointers are joined with a slash.
pub type Column = (&'static str, &'static [&'static str]);

/// What a command prints.
#[derive(Debug, Clone)]
pub struct Rendered {
    value: Value,
    shape: Shape,
    /// A read, which `--watch` repeats.
    pub repeatable: bool,
    /// What it shows is a failure, which these words and the exit code 1 tell.
    pub failed: Option<&'static str>,
}

#[derive(Debug, Clone)]
enum Shape {
    /// One row per entry of the value's `items` (or of the array at this pointer).
    Rows(&'static str, &'static [Column]),
    /// One line per column.
    Fields(&'static [Column]),
    /// This text as a table, the value otherwise.
    Text(String),
}

impl Rendered {
    /// A list under `items`.
    pub fn list(value: Value, columns: &'static [Column]) -> Self {
        Self::rows(value, "/items", columns)
    }

    /// A list at a pointer.
    pub fn rows(value: Value, pointer: &'static str, columns: &'static [Column]) -> Self {
        Self {
            value,
            shape: Shape::Rows(pointer, columns),
            repeatable: true,
            failed: None,
        }
    }

    /// One object.
    pub fn object(value: Value, columns: &'static [Column]) -> Self {
        Self {
            value,
            shape: Shape::Fields(columns),
            repeatable: true,
            failed: None,
        }
    }

    /// The outcome of a change: a sentence for people, the value for programs.
    pub fn done(text: impl Into<String>, value: Value) -> Self {
        Self {
            value,
            shape: Shape::Text(text.into()),
            repeatable: false,
            failed: None,
        }
    }

    /// A read whose table form is this text.
    pub fn text(text: impl Into<String>, value: Value) -> Self {
        Self {
            repeatable: true,
            ..Self::done(text, value)
        }
    }

    /// The same as a failure, told by `text`, unless `passed`.
    pub fn failed_unless(mut self, passed: bool, text: &'static str) -> Self {
        self.failed = (!passed).then_some(text);
        self
    }

    /// The outcome of a change in the shape of a list.
    pub fn once(mut self) -> Self {
        self.repeatable = false;
        self
    }

    /// The printed form, with a line feed at the end.
    pub fn print(&self, format: Format) -> Result<String, Failure> {
        let text = match format {
            Format::Json => serde_json::to_string_pretty(&self.value).map_err(unprintable)?,
            Format::Yaml => serde_saphyr::to_string(&self.value).map_err(unprintable)?,
            Format::Table => self.table(),
        };
        Ok(format!("{}\n", text.trim_end()))
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        match &self.shape {
            Shape::Text(text) => return text.clone(),
            Shape::Rows(pointer, columns) => {
                table.set_header(columns.iter().map(|(heading, _)| *heading));
                for item in self
                    .value
                    .pointer(pointer)
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    table.add_row(columns.iter().map(|(_, pointers)| cell(item, pointers)));
                }
            }
            Shape::Fields(columns) => {
                for (heading, pointers) in *columns {
                    table.add_row([(*heading).to_owned(), cell(&self.value, pointers)]);
                }
            }
        }
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }
}

fn unprintable(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Refused, format!("the answer cannot be printed: {error}"))
}

fn cell(item: &Value, pointers: &[&str]) -> String {
    // `a|b`: the first of them that is there.
    let found = |pointer: &&str| pointer.split('|').find_map(|pointer| look_up(item, pointer));
    let parts: Vec<String> = pointers.iter().map(|pointer| plain(found(pointer).as_ref())).collect();
    parts.join("/")
}

/// The value at a JSON pointer; `/a/*/b` is the list of every `b` in the list `a`.
fn look_up(item: &Value, pointer: &str) -> Option<Value> {
    let Some((list, of_each)) = pointer.split_once("/*") else {
        return item.pointer(pointer).cloned();
    };
    let items = item.pointer(list)?.as_array()?;
    let found: Vec<Value> = items.iter().filter_map(|item| item.pointer(of_each).cloned()).collect();
    (!found.is_empty()).then_some(Value::Array(found))
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| plain(Some(item)))
            .collect::<Vec<_>>()
            .join(", "),
        Some(other) => other.to_string(),
    }
}

/// Writes to stdout; a closed pipe ends the command quietly with success of what was written.
pub fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::new(Code::Refused, format!("stdout cannot be written: {error}")))
}

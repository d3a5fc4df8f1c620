//! Log lines as etcd's: one JSON object a line with `level`, `ts`, `caller`, `msg`, which is what starters wait for.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::sync::Mutex;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::settings::{Settings, SettingsError};

/// Where nothing is said of it, openraft is quiet: what matters of elections is logged by this program.
const QUIET: &str = "openraft=error";

/// Installs the log writer that the flags ask for.
pub fn install(settings: &Settings) -> Result<(), SettingsError> {
    let invalid = |flag: &str, problem: String| SettingsError::Invalid {
        flag: flag.to_string(),
        value: settings.get(flag).unwrap_or_default().to_string(),
        problem,
    };
    let level = match settings.get("log-level").unwrap_or("info") {
        "" | "info" => "info",
        "debug" => "debug",
        "warn" => "warn",
        "error" | "dpanic" | "panic" | "fatal" => "error",
        other => return Err(invalid("log-level", format!("unrecognized level: {other:?}"))),
    };
    let json = match settings.get("log-format").unwrap_or("json") {
        "" | "json" => true,
        "console" => false,
        other => return Err(invalid("log-format", format!("unknown log format: {other:?}"))),
    };
    let outputs = settings.get("log-outputs").unwrap_or("default");
    if outputs.contains(',') {
        let instead = "lines go to one place; give stderr, stdout or one file";
        let flag = "log-outputs".to_string();
        return Err(SettingsError::Unsupported { flag, instead });
    }
    let writer = match outputs {
        "" | "default" | "stderr" | "systemd/journal" => BoxMakeWriter::new(std::io::stderr),
        "stdout" => BoxMakeWriter::new(std::io::stdout),
        path => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            BoxMakeWriter::new(Mutex::new(
                file.map_err(|error| invalid("log-outputs", format!("cannot open the file: {error}")))?,
            ))
        }
    };
    let filter = EnvFilter::try_new(format!("{level},{QUIET}")).expect("a level and a directive are a filter");
    // An error means that a writer is installed already, which then stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .event_format(Zap { json })
        .with_writer(writer)
        .try_init();
    Ok(())
}

/// Lines as the Go library zap writes them.
struct Zap {
    json: bool,
}

impl<S, N> FormatEvent<S, N> for Zap
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let now = jiff::Timestamp::now();
        let now = now.round(jiff::Unit::Microsecond).unwrap_or(now).to_string();
        let file = metadata.file().unwrap_or("unknown");
        let file = file.rsplit("/src/").next().unwrap_or(file);
        let caller = format!("{file}:{}", metadata.line().unwrap_or(0));
        let mut fields = Fields::default();
        event.record(&mut fields);
        if !self.json {
            write!(writer, "{now}\t{level}\t{caller}\t{}", fields.message)?;
            if !fields.others.is_empty() {
                write!(writer, "\t{}", Value::Object(fields.others))?;
            }
            return writeln!(writer);
        }
        let text = |value: &str| Value::from(value).to_string();
        write!(
            writer,
            "{{\"level\":\"{level}\",\"ts\":\"{now}\",\"caller\":{},\"msg\":{}",
            text(&caller),
            text(&fields.message)
        )?;
        for (name, value) in &fields.others {
            write!(writer, ",{}:{value}", text(name))?;
        }
        writeln!(writer, "}}")
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.insert(field.name().replace('_', "-"), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            // Writing to a text cannot fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.put(field, Value::from(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.put(field, Value::from(value));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
}

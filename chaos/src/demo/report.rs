//! What the demonstration prints.

use std::time::{Duration, Instant};

/// Printer of the story; collects the lines of the summary.
#[derive(Debug)]
pub struct Report {
    started: Instant,
    acts: u32,
    findings: Vec<String>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            acts: 0,
            findings: Vec::new(),
        }
    }
}

impl Report {
    /// Opens the next act.
    pub fn act(&mut self, title: &str) {
        self.acts += 1;
        println!(
            "\n{}. {title}   [{:.1} s]",
            self.acts,
            self.started.elapsed().as_secs_f64()
        );
    }

    /// One indented line.
    pub fn say(&self, text: &str) {
        println!("   {text}");
    }

    /// One line as it is.
    pub fn line(&self, text: &str) {
        println!("{text}");
    }

    /// A line that also stands in the summary.
    pub fn finding(&mut self, text: String) {
        println!("   {text}");
        self.findings.push(text);
    }

    /// A line of the summary that was said before.
    pub fn remember(&mut self, text: String) {
        self.findings.push(text);
    }

    /// The summary.
    pub fn summary(&self, elapsed: Duration) {
        println!("\nSummary ({:.1} s)", elapsed.as_secs_f64());
        for finding in &self.findings {
            println!("   ✓ {finding}");
        }
    }
}

//! Figures of the KV benchmark: what was measured of both systems, medians of rounds, ratios, targets and verdicts.

/// What a value counts; decides how it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Operations or events a second.
    PerSecond,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds of server CPU, all three nodes together, per operation.
    CpuMicroseconds,
    /// Mebibytes.
    Mebibytes,
    /// A number of things.
    Count,
    /// How many times as much.
    Times,
}

impl Unit {
    fn print(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{value:.0}/s"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::CpuMicroseconds => format!("{value:.0} µs CPU"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::Count => format!("{value:.0}"),
            Self::Times => format!("{value:.2} ×"),
        }
    }
}

/// What a figure has to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Told, not judged.
    None,
    /// At least so many times the peer's.
    RatioAtLeast(f64),
    /// At most so many times the peer's.
    RatioAtMost(f64),
    /// At most this, in the figure's unit.
    AtMost(f64),
    /// At most this, and less than the peer's.
    AtMostAndBelowPeer(f64),
}

impl Target {
    /// `None` without a target, or where what it asks for was not measured.
    fn is_met(self, ours: Option<f64>, theirs: Option<f64>) -> Option<bool> {
        match self {
            Self::None => None,
            Self::RatioAtLeast(times) => Some(ours? >= times * theirs?),
            Self::RatioAtMost(times) => Some(ours? <= times * theirs?),
            Self::AtMost(limit) => Some(ours? <= limit),
            Self::AtMostAndBelowPeer(limit) => Some(ours? <= limit && ours? < theirs?),
        }
    }

    fn print(self, unit: Unit) -> String {
        match self {
            Self::None => String::new(),
            Self::RatioAtLeast(times) => format!("≥ {times:.2} × etcd"),
            Self::RatioAtMost(times) => format!("≤ {times:.2} × etcd"),
            Self::AtMost(limit) => format!("≤ {}", unit.print(limit)),
            Self::AtMostAndBelowPeer(limit) => format!("≤ {}, below etcd", unit.print(limit)),
        }
    }
}

/// One value of one system.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Row and what of it: `puts, 100 clients: rate`.
    pub measure: String,
    pub unit: Unit,
    pub value: f64,
    pub target: Target,
}

impl Figure {
    /// A figure of a row.
    pub fn new(row: &str, what: &str, unit: Unit, value: f64, target: Target) -> Self {
        Self {
            measure: format!("{row}: {what}"),
            unit,
            value,
            target,
        }
    }

    /// The value with its unit.
    pub fn print(&self) -> String {
        self.unit.print(self.value)
    }
}

struct Line {
    /// The first value, for name, unit and target.
    figure: Figure,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

/// Everything that was measured, in the order in which it first came.
#[derive(Default)]
pub struct Table {
    lines: Vec<Line>,
}

impl Table {
    /// Takes figures of one round of one system.
    pub fn take(&mut self, figures: Vec<Figure>, ours: bool) {
        for figure in figures {
            let at = self.lines.iter().position(|line| line.figure.measure == figure.measure);
            let at = at.unwrap_or_else(|| {
                self.lines.push(Line {
                    figure: figure.clone(),
                    ours: Vec::new(),
                    theirs: Vec::new(),
                });
                self.lines.len() - 1
            });
            let line = &mut self.lines[at];
            let values = if ours { &mut line.ours } else { &mut line.theirs };
            values.push(figure.value);
            if ours {
                // Where a target hangs on the machine it is measured with our side.
                line.figure.target = figure.target;
            }
        }
    }

    /// The table of medians in Markdown.
    pub fn print(&self) {
        println!("| measure | quorate | etcd | ratio | target | |");
        println!("| --- | --- | --- | --- | --- | --- |");
        for line in &self.lines {
            let Line { figure, ours, theirs } = line;
            let measured = |values: &[f64]| (!values.is_empty()).then(|| median(values));
            let (ours, theirs) = (measured(ours), measured(theirs));
            let verdict = match figure.target.is_met(ours, theirs) {
                Some(true) => "met",
                Some(false) => "missed",
                None if figure.target == Target::None => "",
                None => "not measured",
            };
            let print = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| figure.unit.print(value));
            let ratio = match (ours, theirs) {
                (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
                _ => "–".to_owned(),
            };
            println!(
                "| {} | {} | {} | {ratio} | {} | {verdict} |",
                figure.measure,
                print(ours),
                print(theirs),
                figure.target.print(figure.unit),
            );
        }
    }
}

/// The median; zero of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_judged() {
        let is_met = |target: Target, ours, theirs| target.is_met(Some(ours), Some(theirs));
        assert_eq!(is_met(Target::RatioAtLeast(3.0), 29.0, 10.0), Some(false));
        assert_eq!(is_met(Target::RatioAtLeast(3.0), 30.0, 10.0), Some(true));
        assert_eq!(is_met(Target::RatioAtMost(0.5), 5.0, 10.0), Some(true));
        assert_eq!(is_met(Target::AtMost(0.0), 1.0, 0.0), Some(false));
        assert_eq!(is_met(Target::AtMostAndBelowPeer(96.0), 90.0, 80.0), Some(false));
        assert_eq!(is_met(Target::None, 1.0, 1.0), None);
        // A system that gave no figure has reached nothing.
        assert_eq!(Target::AtMost(1.5).is_met(None, Some(1.0)), None);
        assert_eq!(Target::RatioAtMost(0.5).is_met(Some(0.0), None), None);
    }

    #[test]
    fn medians_of_rounds_stay_with_their_system() {
        let mut table = Table::default();
        let figure = |value| vec![Figure::new("row", "rate", Unit::PerSecond, value, Target::None)];
        for (value, ours) in [
            (1.0, true),
            (10.0, false),
            (3.0, true),
            (30.0, false),
            (2.0, true),
            (20.0, false),
        ] {
            table.take(figure(value), ours);
        }
        assert_eq!(table.lines.len(), 1);
        assert_eq!(
            (median(&table.lines[0].ours), median(&table.lines[0].theirs)),
            (2.0, 20.0)
        );
    }
}

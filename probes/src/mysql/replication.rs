//! What `SHOW REPLICA STATUS` says, in the columns of MySQL and of MariaDB.

use std::collections::BTreeMap;

use crate::observation::bounded_text;

/// State of the replication from another server; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replication {
    /// Replicates from another server.
    pub(super) replica: bool,
    /// As the server estimates it; `None` while link or applier stands still.
    pub(super) seconds: Option<u64>,
    /// Received and not applied, by GTID.
    pub(super) transactions: Option<u64>,
    /// Link or applier stands still, in the server's words.
    pub(super) broken: Option<String>,
}

impl Replication {
    /// Reads a row by the names of its columns: MariaDB's, then MySQL's.
    pub(super) fn of(column: &dyn Fn(&str) -> Option<String>) -> Self {
        let either = |maria: &str, mysql: &str| column(maria).or_else(|| column(mysql));
        let seconds = either("Seconds_Behind_Master", "Seconds_Behind_Source");
        let threads = [
            (
                "receiver",
                either("Slave_IO_Running", "Replica_IO_Running"),
                "Last_IO_Error",
            ),
            (
                "applier",
                either("Slave_SQL_Running", "Replica_SQL_Running"),
                "Last_SQL_Error",
            ),
        ];
        let stopped: Vec<String> = threads
            .into_iter()
            .filter_map(|(thread, state, error)| {
                let state = state.filter(|state| state != "Yes")?;
                let error = column(error).filter(|error| !error.is_empty());
                let error = error.map(|error| format!(" ({error})")).unwrap_or_default();
                Some(format!("{thread}: {state}{error}"))
            })
            .collect();
        let retrieved = column("Retrieved_Gtid_Set").filter(|set| !set.is_empty());
        let transactions = retrieved.and_then(|retrieved| {
            let executed = column("Executed_Gtid_Set").unwrap_or_default();
            mysql_behind(&retrieved, &executed)
        });
        Self {
            replica: true,
            seconds: seconds.and_then(|seconds| seconds.parse().ok()),
            transactions,
            broken: (!stopped.is_empty()).then(|| bounded_text(&stopped.join("; "))),
        }
    }

    /// For an operator.
    pub(super) fn shown(&self) -> String {
        let mut parts = vec!["replica".to_owned()];
        parts.extend(self.seconds.map(|seconds| format!("{seconds} s behind")));
        parts.extend(self.transactions.map(|count| format!("{count} transactions to apply")));
        parts.extend(self.broken.clone());
        match self.replica {
            true => parts.join(", "),
            false => "no replication from another server".to_owned(),
        }
    }
}

/// Positions of MariaDB: `domain-server-sequence`, comma separated. Transactions of `received` that `applied` lacks.
pub(super) fn mariadb_behind(received: &str, applied: &str) -> Option<u64> {
    let positions = |text: &str| -> Option<BTreeMap<u64, u64>> {
        let one = |position: &str| {
            let mut parts = position.trim().split('-');
            let (domain, _server, sequence) = (parts.next()?, parts.next()?, parts.next()?);
            Some((domain.parse().ok()?, sequence.parse().ok()?))
        };
        text.split(',')
            .filter(|position| !position.trim().is_empty())
            .map(one)
            .collect()
    };
    let applied = positions(applied)?;
    let behind = positions(received)?.into_iter().map(|(domain, sequence)| {
        let done = applied.get(&domain).copied().unwrap_or_default();
        sequence.saturating_sub(done)
    });
    Some(behind.fold(0, u64::saturating_add))
}

/// Sets of MySQL: `uuid[:tag]:from[-to]…`, comma separated. Transactions of `retrieved` that `executed` lacks.
fn mysql_behind(retrieved: &str, executed: &str) -> Option<u64> {
    let executed = gtid_set(executed)?;
    let mut behind: u64 = 0;
    for (source, intervals) in gtid_set(retrieved)? {
        let done = executed.get(&source).map(Vec::as_slice).unwrap_or_default();
        for (from, to) in intervals {
            let common = done.iter().map(|(low, high)| {
                let (low, high) = (from.max(*low), to.min(*high));
                (high + 1).saturating_sub(low)
            });
            let common: u64 = common.fold(0, u64::saturating_add);
            behind = behind.saturating_add((to - from + 1).saturating_sub(common));
        }
    }
    Some(behind)
}

/// Intervals by source, which is the UUID with its tag. Intervals of one source do not overlap.
fn gtid_set(text: &str) -> Option<BTreeMap<String, Vec<(u64, u64)>>> {
    let mut set: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let mut words = part.split(':');
        let uuid = words.next()?.to_ascii_lowercase();
        let mut source = uuid.clone();
        for word in words {
            let (from, to) = word.split_once('-').unwrap_or((word, word));
            match (from.parse::<u64>(), to.parse::<u64>()) {
                (Ok(from), Ok(to)) if from <= to && to < u64::MAX => {
                    set.entry(source.clone()).or_default().push((from, to));
                }
                // A tag (8.4) names a source of its own.
                _ if is_tag(word) => source = format!("{uuid}:{word}"),
                _ => return None,
            }
        }
    }
    Some(set)
}

/// Letters, digits and underscores, no digit first.
fn is_tag(word: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    word.starts_with(first) && word.chars().all(|c| first(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_behind_are_counted_by_gtid() {
        for (received, applied, behind) in [
            ("1-1-100", "1-1-97", Some(3)),
            ("1-1-100,2-2-50", "1-1-100", Some(50)),
            ("1-1-100", "1-1-120", Some(0)),
            ("", "", Some(0)),
            ("1-1", "1-1-1", None),
        ] {
            assert_eq!(mariadb_behind(received, applied), behind, "{received} {applied}");
        }
        let a = "3E11FA47-71CA-11E1-9E33-C80AA9429562";
        let b = "4e11fa47-71ca-11e1-9e33-c80aa9429562";
        for (retrieved, executed, behind) in [
            (format!("{a}:1-23"), format!("{a}:1-20"), Some(3)),
            (format!("{a}:1-23"), format!("{}:1-5:11-23", a.to_lowercase()), Some(5)),
            (format!("{a}:1-3,\n{b}:7"), format!("{a}:1-3"), Some(1)),
            (format!("{a}:1-3:tag:1-4"), format!("{a}:1-3:tag:1-2"), Some(2)),
            (format!("{a}:1-3:tag:1-4"), format!("{a}:1-9"), Some(4)),
            (String::new(), format!("{a}:1-9"), Some(0)),
            (format!("{a}:x-3"), String::new(), None),
        ] {
            assert_eq!(mysql_behind(&retrieved, &executed), behind, "{retrieved} {executed}");
        }
    }

    #[test]
    fn a_link_that_stands_still_is_told_in_the_servers_words() {
        let row = |columns: &[(&str, &str)]| {
            let columns: BTreeMap<String, String> = columns
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            Replication::of(&|name| columns.get(name).cloned())
        };
        let well = row(&[
            ("Slave_IO_Running", "Yes"),
            ("Slave_SQL_Running", "Yes"),
            ("Seconds_Behind_Master", "4"),
        ]);
        assert_eq!((well.seconds, well.broken.clone()), (Some(4), None));
        assert_eq!(well.shown(), "replica, 4 s behind");
        let broken = row(&[
            ("Replica_IO_Running", "Connecting"),
            ("Replica_SQL_Running", "Yes"),
            ("Last_IO_Error", "error connecting to source"),
        ]);
        assert_eq!(broken.seconds, None);
        assert_eq!(
            broken.broken.as_deref(),
            Some("receiver: Connecting (error connecting to source)")
        );
        assert_eq!(Replication::default().shown(), "no replication from another server");
    }
}

//! Links of this node to its peers and to the configured targets (A6): measured every second, reported when they change.
//!
//! An attempt is a TCP connection that is closed again: it says whether the host lives (an answer, or a refusal) and how
//! long a round trip takes, and needs nothing of the other end. What follows from it for a site is the state's business.
//! A report is made where the state says something else than what is measured, and made again until it does not.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorate_console_api::{LinkMeasure, LinkSource};
use quorate_machine::{Command, LinkReport, LinkState, ReportLinks, State};
use quorate_raft::Handle;

use super::{peer_address, propose};
use crate::links::Links;

/// From one attempt to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time for one attempt.
const ATTEMPT_DEADLINE: Duration = Duration::from_millis(900);
/// Attempts without an answer in a row that make a link silent.
const SILENT_ATTEMPTS: u32 = 2;
/// Attempts that the loss is counted over: a minute.
const LOSS_WINDOW_ATTEMPTS: usize = 60;
/// Round trips that the shown one is the median of.
const RTT_WINDOW_ATTEMPTS: usize = 5;

/// The other end: a peer, or the address of a target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Peer(u64),
    Target(String),
}

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Answered {
        rtt_us: u32,
    },
    Refused,
    Silence,
    /// The name does not resolve, or this node cannot connect at all.
    Nothing,
}

/// What is known of one link.
#[derive(Debug, Clone, Default)]
struct Measured {
    state: Option<LinkState>,
    silent_in_a_row: u32,
    answered: VecDeque<bool>,
    rtts_us: VecDeque<u32>,
    slow: bool,
}

impl Measured {
    fn note(&mut self, attempt: Attempt, warning_us: u32) {
        let answered = matches!(attempt, Attempt::Answered { .. } | Attempt::Refused);
        if attempt != Attempt::Nothing {
            keep_newest(&mut self.answered, answered, LOSS_WINDOW_ATTEMPTS);
        }
        self.silent_in_a_row = if attempt == Attempt::Silence {
            self.silent_in_a_row + 1
        } else {
            0
        };
        match attempt {
            Attempt::Answered { rtt_us } => {
                self.state = Some(LinkState::Up);
                keep_newest(&mut self.rtts_us, rtt_us.max(1), RTT_WINDOW_ATTEMPTS);
                // It ends below four fifths of the warning, so that a round trip on the line does not flicker.
                let line = if self.slow { warning_us / 5 * 4 } else { warning_us };
                self.slow = self.rtt_us() > line;
            }
            Attempt::Refused => self.state = Some(LinkState::Refused),
            Attempt::Silence if self.silent_in_a_row >= SILENT_ATTEMPTS => self.state = Some(LinkState::Silent),
            Attempt::Silence => {}
            Attempt::Nothing => self.state = Some(LinkState::Unknown),
        }
        if self.state() != LinkState::Up {
            self.rtts_us.clear();
            self.slow = false;
        }
    }

    fn state(&self) -> LinkState {
        self.state.unwrap_or(LinkState::Unknown)
    }

    /// Median of the last round trips, microseconds; 0 while there is none.
    fn rtt_us(&self) -> u32 {
        let mut sorted: Vec<u32> = self.rtts_us.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    }

    fn loss_permille(&self) -> u32 {
        let lost = self.answered.iter().filter(|answered| !**answered).count();
        u32::try_from(lost * 1_000 / self.answered.len().max(1)).unwrap_or(1_000)
    }
}

/// Appends to the newest values of a series and drops the oldest beyond `most`.
fn keep_newest<T>(series: &mut VecDeque<T>, value: T, most: usize) {
    series.push_back(value);
    while series.len() > most {
        series.pop_front();
    }
}

/// What this node measures of its links; shared by the prober, the reporter and the console.
#[derive(Default)]
pub struct LinkBoard {
    links: Mutex<BTreeMap<End, Measured>>,
}

impl LinkSource for LinkBoard {
    fn links(&self) -> Vec<LinkMeasure> {
        let measure = |report: LinkReport| LinkMeasure {
            peer: report.peer,
            target: report.target,
            state: report.state,
            rtt_us: report.rtt_us,
            loss_permille: report.loss_permille,
            slow: report.slow,
        };
        self.reports().into_iter().map(measure).collect()
    }
}

impl LinkBoard {
    /// Peers by number, then targets by address.
    fn reports(&self) -> Vec<LinkReport> {
        let links = self.links.lock().expect("no holder of the lock panics");
        let report = |(end, measured): (&End, &Measured)| {
            let (peer, target) = match end {
                End::Peer(peer) => (*peer, String::new()),
                End::Target(target) => (0, target.clone()),
            };
            LinkReport {
                peer,
                target,
                state: measured.state() as i32,
                slow: measured.slow,
                rtt_us: measured.rtt_us(),
                loss_permille: measured.loss_permille(),
            }
        };
        links.iter().map(report).collect()
    }

    fn note(&self, outcomes: Vec<(End, Attempt)>, warning_us: u32) {
        let mut links = self.links.lock().expect("no holder of the lock panics");
        links.retain(|end, _| outcomes.iter().any(|(known, _)| known == end));
        for (end, attempt) in outcomes {
            links.entry(end).or_default().note(attempt, warning_us);
        }
    }
}

/// Measures and reports for ever.
pub async fn run(handle: Handle, links: Links, board: Arc<LinkBoard>) {
    tokio::join!(measure(&handle, &links, &board), report(&handle, &board));
}

async fn measure(handle: &Handle, links: &Links, board: &LinkBoard) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let (ends, warning_us) =
            handle.read(|state| (ends(state, handle.node_id()), state.site_settings().rtt_warning_us));
        let attempts = ends
            .into_iter()
            .map(|(end, address)| async move { (end, attempt(links, &address).await) });
        board.note(futures_util::future::join_all(attempts).await, warning_us);
    }
}

/// What is to be measured, with the address of each end.
fn ends(state: &State, own: u64) -> Vec<(End, String)> {
    let peers = state.nodes().filter(|node| node.id != own);
    let peers = peers.map(|node| (End::Peer(node.id), peer_address(&node.peer)));
    let targets = state.site_settings().targets.iter();
    let targets = targets.map(|target| (End::Target(target.address.clone()), target.address.clone()));
    peers.chain(targets).collect()
}

async fn attempt(links: &Links, address: &str) -> Attempt {
    let begun = Instant::now();
    match tokio::time::timeout(ATTEMPT_DEADLINE, links.connect(address)).await {
        Err(_) => Attempt::Silence,
        Ok(Ok(_)) => Attempt::Answered {
            rtt_us: u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX),
        },
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Attempt::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Attempt::Silence
            }
            _ => Attempt::Nothing,
        },
    }
}

async fn report(handle: &Handle, board: &LinkBoard) {
    let mut sequence = 0;
    let mut interval = tokio::time::interval(INTERVAL / 2);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let links = board.reports();
        let owed = handle.read(|state| state.node(handle.node_id()).is_some() && differs(state, handle, &links));
        if !owed || links.is_empty() {
            continue;
        }
        sequence += 1;
        let report = ReportLinks {
            node: handle.node_id(),
            incarnation: handle.incarnation(),
            sequence,
            links,
        };
        // The next look makes it again where it did not get through.
        if let Err(error) = propose(handle, Command::ReportLinks(report)).await {
            tracing::debug!("the state of the links could not be told: {error}");
        }
    }
}

/// True where the state says something else of a link than what is measured, or nothing of this run of the node.
fn differs(state: &State, handle: &Handle, measured: &[LinkReport]) -> bool {
    let Some(known) = state.links_of(handle.node_id()) else {
        return true;
    };
    known.incarnation != handle.incarnation()
        || measured.iter().any(|link| {
            let same = known
                .links
                .iter()
                .find(|known| known.peer == link.peer && known.target == link.target);
            same.map(|known| (known.state, known.slow)) != Some((link.state, link.slow))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARNING_US: u32 = 5_000;

    fn after(attempts: &[Attempt]) -> Measured {
        let mut measured = Measured::default();
        attempts.iter().for_each(|attempt| measured.note(*attempt, WARNING_US));
        measured
    }

    #[test]
    fn one_lost_attempt_is_no_silence() {
        let up = Attempt::Answered { rtt_us: 700 };
        assert_eq!(after(&[]).state(), LinkState::Unknown);
        assert_eq!(after(&[up, Attempt::Silence]).state(), LinkState::Up);
        let silent = after(&[up, Attempt::Silence, Attempt::Silence]);
        assert_eq!(
            (silent.state(), silent.rtt_us(), silent.loss_permille()),
            (LinkState::Silent, 0, 666)
        );
        assert_eq!(after(&[Attempt::Silence, up]).state(), LinkState::Up);
        assert_eq!(after(&[up, Attempt::Refused]).state(), LinkState::Refused);
        assert_eq!(after(&[up, Attempt::Nothing]).state(), LinkState::Unknown);
    }

    #[test]
    fn a_round_trip_is_slow_by_its_median_and_ends_later_than_it_begins() {
        let rtt = |rtt_us| Attempt::Answered { rtt_us };
        assert!(!after(&[rtt(700), rtt(700), rtt(90_000)]).slow, "one outlier");
        let mut slow = after(&[rtt(6_000); 3]);
        assert!(slow.slow);
        slow.note(rtt(4_500), WARNING_US);
        slow.note(rtt(4_500), WARNING_US);
        slow.note(rtt(4_500), WARNING_US);
        assert!(slow.slow, "not below four fifths");
        (0..3).for_each(|_| slow.note(rtt(1_000), WARNING_US));
        assert!(!slow.slow);
        assert_eq!(slow.rtt_us(), 1_000);
    }

    #[tokio::test]
    async fn attempts_tell_a_live_host_from_none() {
        let links = Links::new(1, None, None);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        assert!(matches!(attempt(&links, &address).await, Attempt::Answered { .. }));
        drop(listener);
        assert_eq!(attempt(&links, &address).await, Attempt::Refused);
        assert_eq!(attempt(&links, "nowhere.invalid:1").await, Attempt::Nothing);
    }
}

//! The packets of Oracle Net (TNS) that a listener exchanges before any login.
//!
//! Eight bytes of header: length (2), checksum (2, zero), type (1), flags (1), checksum (2, zero); numbers are big endian.

use std::time::Duration;

/// Bytes of a packet's header.
pub(super) const HEADER_BYTES: usize = 8;
/// Longest packet that is read before a connection is accepted.
pub(super) const MAX_PACKET_BYTES: usize = 8192;
/// Place of the connect data in a CONNECT packet.
const CONNECT_DATA_OFFSET: u16 = 74;
/// Longest connect data that travels in the CONNECT packet itself.
const MAX_CONNECT_DATA_BYTES: usize = 230;
const VERSION: u16 = 319;
const OLDEST_VERSION: u16 = 300;
const ANY_SERVICE_OPTIONS: u16 = 0x0001;
const UNIT_BYTES: u16 = 8192;
const PROTOCOL_CHARACTERISTICS: u16 = 0x4f98;
/// Native encryption and integrity are not asked for.
const NO_NATIVE_SECURITY: u8 = 0x04;
/// Packet flag of a CONNECT that follows a redirection.
const REDIRECTED: u8 = 0x04;
const TYPE_CONNECT: u8 = 1;
const TYPE_ACCEPT: u8 = 2;
const TYPE_REFUSE: u8 = 4;
const TYPE_REDIRECT: u8 = 5;
const TYPE_DATA: u8 = 6;
const TYPE_RESEND: u8 = 11;

/// Longest service name or SID.
pub(super) const MAX_SERVICE_BYTES: usize = 128;

/// What a listener said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The listener and an instance's handler are ready.
    Accept,
    /// With the listener's words, in which `(ERR=12514)` names the reason.
    Refuse(String),
    /// Ask there instead. `None`: the place comes in a packet of its own.
    Redirect(Option<String>),
    /// The place of a redirection.
    Data(String),
    /// Send the same again.
    Resend,
}

/// The connect data for a service, or a SID.
pub(super) fn connect_data(service: &str, is_sid: bool) -> String {
    let name = if is_sid { "SID" } else { "SERVICE_NAME" };
    format!("(DESCRIPTION=(CONNECT_DATA=({name}={service})(CID=(PROGRAM=quorate)(HOST=quorate)(USER=quorate))))")
}

/// A CONNECT packet.
///
/// # Panics
/// The data is longer than a service name's bound allows.
pub(super) fn connect(data: &str, redirected: bool) -> Vec<u8> {
    assert!(
        data.len() <= MAX_CONNECT_DATA_BYTES,
        "connect data of {} bytes",
        data.len()
    );
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    let mut packet = Vec::with_capacity(usize::from(CONNECT_DATA_OFFSET) + data.len());
    let total = CONNECT_DATA_OFFSET + length;
    packet.extend_from_slice(&total.to_be_bytes());
    packet.extend_from_slice(&[0, 0, TYPE_CONNECT, if redirected { REDIRECTED } else { 0 }, 0, 0]);
    // Version, oldest version, options, session and transport unit, characteristics, turnaround, one in this byte order.
    for number in [
        VERSION,
        OLDEST_VERSION,
        ANY_SERVICE_OPTIONS,
        UNIT_BYTES,
        UNIT_BYTES,
        PROTOCOL_CHARACTERISTICS,
        0,
        1,
        length,
        CONNECT_DATA_OFFSET,
    ] {
        packet.extend_from_slice(&number.to_be_bytes());
    }
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&[NO_NATIVE_SECURITY; 2]);
    packet.extend_from_slice(&[0; 24]);
    for unit in [u32::from(UNIT_BYTES); 2] {
        packet.extend_from_slice(&unit.to_be_bytes());
    }
    packet.resize(usize::from(CONNECT_DATA_OFFSET), 0);
    packet.extend_from_slice(data.as_bytes());
    packet
}

/// Length of the packet with this header; `None` if it is none that may come here.
pub(super) fn packet_length(header: &[u8; HEADER_BYTES]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes([header[0], header[1]]));
    let known = matches!(
        header[4],
        TYPE_ACCEPT | TYPE_REFUSE | TYPE_REDIRECT | TYPE_DATA | TYPE_RESEND
    );
    (known && (HEADER_BYTES..=MAX_PACKET_BYTES).contains(&length)).then_some(length)
}

/// Reads a packet of this header and what follows it.
pub(super) fn reply(header: &[u8; HEADER_BYTES], body: &[u8]) -> Option<Reply> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let counted = |at: usize| -> Option<(usize, &[u8])> {
        let length = usize::from(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
        Some((length, body.get(at + 2..)?))
    };
    match header[4] {
        TYPE_ACCEPT => Some(Reply::Accept),
        TYPE_RESEND => Some(Reply::Resend),
        TYPE_REFUSE => {
            // Two bytes of reasons stand before the words.
            let (length, words) = counted(2)?;
            Some(Reply::Refuse(text(words.get(..length).unwrap_or(words))))
        }
        TYPE_REDIRECT => {
            let (length, place) = counted(0)?;
            Some(Reply::Redirect(
                place.get(..length).filter(|place| !place.is_empty()).map(text),
            ))
        }
        // Two bytes of flags stand before the data.
        TYPE_DATA => Some(Reply::Data(text(body.get(2..)?))),
        _ => None,
    }
}

/// The number of a listener's refusal: `(ERR=n)`, else `(CODE=n)`.
pub(super) fn refusal_code(words: &str) -> Option<u32> {
    value(words, "ERR").or_else(|| value(words, "CODE"))?.parse().ok()
}

/// Host, port and connect data of a redirection. The data follows a zero byte where the listener gives new ones.
pub(super) fn redirection(place: &str) -> Option<(String, u16, Option<String>)> {
    let (address, data) = match place.split_once('\0') {
        Some((address, data)) => (address, Some(data.to_owned())),
        None => (place, None),
    };
    let host = value(address, "HOST").filter(|host| !host.is_empty())?;
    let port = value(address, "PORT")?.parse().ok().filter(|port| *port > 0)?;
    let data = data.filter(|data| !data.is_empty() && data.len() <= MAX_CONNECT_DATA_BYTES);
    Some((host.to_owned(), port, data))
}

/// Value of `(name=value)`, whatever the case of the name.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split('(').find_map(|part| {
        let (found, rest) = part.split_once('=')?;
        found
            .trim()
            .eq_ignore_ascii_case(name)
            .then(|| rest.split(')').next().unwrap_or(rest).trim())
    })
}

/// Days, hours, minutes and seconds as Data Guard writes an interval: `+00 00:00:05`.
pub(super) fn interval(text: &str) -> Option<Duration> {
    let (days, clock) = text.trim().trim_start_matches('+').split_once(' ')?;
    let clock = clock.split('.').next()?;
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let days: u64 = days.parse().ok().filter(|days| *days < 100_000)?;
    Some(Duration::from_secs(((days * 24 + hours) * 60 + minutes) * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_packet_says_where_its_data_are() {
        let data = connect_data("orcl.example.com", false);
        let packet = connect(&data, false);
        assert_eq!(usize::from(u16::from_be_bytes([packet[0], packet[1]])), packet.len());
        assert_eq!((packet[4], packet[5]), (TYPE_CONNECT, 0));
        let (length, offset) = (
            u16::from_be_bytes([packet[24], packet[25]]),
            u16::from_be_bytes([packet[26], packet[27]]),
        );
        assert_eq!(&packet[usize::from(offset)..], data.as_bytes());
        assert_eq!(usize::from(length), data.len());
        assert_eq!(connect(&data, true)[5], REDIRECTED);
        let longest = connect_data(&"s".repeat(MAX_SERVICE_BYTES), true);
        assert!(longest.contains("(SID=sss") && longest.len() <= MAX_CONNECT_DATA_BYTES);
    }

    #[test]
    fn replies_are_read_and_garbage_is_not() {
        let header = |length: u16, kind: u8| {
            let [high, low] = length.to_be_bytes();
            [high, low, 0, 0, kind, 0, 0, 0]
        };
        assert_eq!(reply(&header(8, TYPE_ACCEPT), &[]), Some(Reply::Accept));
        let refuse = [&[4, 0, 0, 11][..], b"(ERR=12514)"].concat();
        assert_eq!(
            reply(&header(23, TYPE_REFUSE), &refuse),
            Some(Reply::Refuse("(ERR=12514)".to_owned()))
        );
        assert_eq!(reply(&header(10, TYPE_REDIRECT), &[0, 20]), Some(Reply::Redirect(None)));
        assert_eq!(reply(&header(8, TYPE_REFUSE), &[]), None);
        for odd in [
            header(7, TYPE_ACCEPT),
            header(8, TYPE_CONNECT),
            header(8193, TYPE_ACCEPT),
            *b"HTTP/1.1",
        ] {
            assert_eq!(packet_length(&odd), None, "{odd:?}");
        }
        assert_eq!(packet_length(&header(8, TYPE_RESEND)), Some(8));
    }

    #[test]
    fn words_of_listeners_are_understood() {
        let words = "(DESCRIPTION=(TMP=)(VSNNUM=318767104)(ERR=12514)(ERROR_STACK=(ERROR=(CODE=12514)(EMFI=4))))";
        assert_eq!(refusal_code(words), Some(12514));
        assert_eq!(refusal_code("(ERROR=(CODE=12528)(EMFI=4))"), Some(12528));
        assert_eq!(refusal_code("(ERR=)"), None);
        let place = "(ADDRESS=(PROTOCOL=TCP)(HOST=node2)(PORT=1522))";
        assert_eq!(redirection(place), Some(("node2".to_owned(), 1522, None)));
        let more = format!("{place}\0(DESCRIPTION=(CONNECT_DATA=(SID=x)))");
        assert_eq!(
            redirection(&more).unwrap().2.as_deref(),
            Some("(DESCRIPTION=(CONNECT_DATA=(SID=x)))")
        );
        for odd in [
            "",
            "(HOST=)(PORT=1)",
            "(HOST=a)(PORT=0)",
            "(HOST=a)(PORT=70000)",
            "(PORT=1)",
        ] {
            assert_eq!(redirection(odd), None, "{odd}");
        }
    }

    #[test]
    fn intervals_are_seconds() {
        assert_eq!(interval("+00 00:00:05"), Some(Duration::from_secs(5)));
        assert_eq!(interval("+01 02:03:04.5"), Some(Duration::from_secs(93_784)));
        assert_eq!(interval("soon"), None);
    }
}

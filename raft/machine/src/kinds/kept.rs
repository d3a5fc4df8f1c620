//! A secret that an edit leaves out is kept, and goes where it went before and nowhere else.
//!
//! Who may edit a monitor need not know its password. If an edit of an address kept it, every node would log in with it at a
//! server of the editor's choice; without encryption, or with other authorities, at whoever sits in between.

use super::{MonitorKind, TlsSpec};
use crate::model::DataCenter;
use crate::reply::{FieldProblem, Refusal, RefusalCode};

/// The code of the problem with a field that has to be given again.
const NEEDED_AGAIN: &str = "needed-again";

/// A server that a secret is sent to, and how the way there is encrypted.
#[derive(PartialEq, Eq)]
struct Destination {
    address: String,
    tls: TlsSpec,
}

/// Where the secret of a field goes, both sides and their replicas together.
fn destinations(kind: &MonitorKind, field: &str) -> Vec<Destination> {
    let of_side = |dc| {
        let side = kind.probed(dc);
        let has_it = side.secrets.iter().any(|secret| secret.field == field);
        let addresses = side.addresses.into_iter().chain(kind.replicas(dc).iter().cloned());
        let addresses = addresses.filter(|address| has_it && !address.is_empty());
        let destination = |address| Destination {
            address,
            tls: side.tls.clone(),
        };
        addresses.map(destination).collect::<Vec<_>>()
    };
    DataCenter::ALL.into_iter().flat_map(of_side).collect()
}

/// Checks an edit: `edited` as it was sent, without the secrets that it keeps. Servers and encryption of each kept secret must
/// be among those that the secret has now; sides that share it may change places.
///
/// # Errors
/// `secret-needed-again` with every such secret.
pub fn check_kept_secrets(present: &MonitorKind, edited: &MonitorKind) -> Result<(), Refusal> {
    let mut complete = edited.clone();
    complete.keep_secrets(present);
    let mut fields = Vec::new();
    for (field, _) in edited.secrets().into_iter().filter(|(_, sealed)| sealed.is_none()) {
        let known = destinations(present, &field);
        let mut others = destinations(&complete, &field).into_iter();
        if let Some(other) = others.find(|destination| !known.contains(destination)) {
            let what = if field.ends_with("password") {
                "password"
            } else {
                "value"
            };
            fields.push(FieldProblem {
                pointer: format!("/{}/{}", edited.traits().name, edited.spec().secret_pointer(&field)),
                code: NEEDED_AGAIN.to_owned(),
                detail: format!(
                    "give the {what} again: the stored one goes only where, and as, it went before, and not to {}",
                    other.address
                ),
            });
        }
    }
    if fields.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        fields,
        ..Refusal::new(RefusalCode::SecretNeededAgain)
    })
}

//! From a version of a key back to those before it, so that superseded versions need no index of their own.
//!
//! Each version names the one before it and one further back, whose distance doubles in the way of a skew-binary list (Myers,
//! "An applicative random-access stack", 1983): any revision of a key is found in a number of steps that grows with the
//! logarithm of its versions, and a put adds two numbers to its version in place of an entry in a tree.
//!
//! Links are not part of what is replicated: after a snapshot, or where a sweep has come further, they may begin later or
//! stride differently. They lead to the same versions.

/// A version of a key: its revision, and which change of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// 0 for none.
    pub(crate) revision: i64,
    pub(crate) sub: u32,
}

/// What a version knows of those before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Links {
    /// The version that this one superseded; none if it created the key.
    previous_revision: i64,
    /// An earlier version, [`Links::previous`] or one further back.
    skip_revision: i64,
    previous_sub: u32,
    skip_sub: u32,
    /// Number of versions before this one and before the skipped-to one; only differences count, so they may wrap.
    depth: u32,
    skip_depth: u32,
}

impl Links {
    /// Links of the version that supersedes the one at `replaced`, whose own are `before`; `skipped` are those of the version
    /// that `before` skips to, if that is still in the history.
    pub(crate) fn after(replaced: Place, before: &Links, skipped: Option<&Links>) -> Links {
        let links = Links {
            previous_revision: replaced.revision,
            previous_sub: replaced.sub,
            depth: before.depth.wrapping_add(1),
            ..Links::default()
        };
        let stride = before.depth.wrapping_sub(before.skip_depth);
        match skipped {
            Some(further)
                if further.skip_revision != 0 && stride == before.skip_depth.wrapping_sub(further.skip_depth) =>
            {
                Links {
                    skip_revision: further.skip_revision,
                    skip_sub: further.skip_sub,
                    skip_depth: further.skip_depth,
                    ..links
                }
            }
            _ => Links {
                skip_revision: replaced.revision,
                skip_sub: replaced.sub,
                skip_depth: before.depth,
                ..links
            },
        }
    }

    /// The version that was superseded.
    pub(crate) fn previous(&self) -> Option<Place> {
        let (revision, sub) = (self.previous_revision, self.previous_sub);
        (revision != 0).then_some(Place { revision, sub })
    }

    /// An earlier version that shortens the way.
    pub(crate) fn skip(&self) -> Option<Place> {
        let (revision, sub) = (self.skip_revision, self.skip_sub);
        (revision != 0).then_some(Place { revision, sub })
    }
}

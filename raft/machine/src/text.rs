//! Texts of others, bounded.

/// The beginning of a text, cut between characters.
pub(crate) fn cut(text: &str, most_bytes: usize) -> String {
    let mut end = text.len().min(most_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

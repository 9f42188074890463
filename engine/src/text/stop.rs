//! Stop strings, also across tokens. Owns: what of a choice's text is safe to send: what cannot become part of a stop
//! string any more.

/// Looks for the first stop string in a growing text.
#[derive(Debug, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    /// Text that may be the beginning of a stop string.
    held: String,
}

/// What a piece of text brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// So much is safe to send.
    Text(String),
    /// A stop string came; this stands before it, and nothing after it counts.
    Stopped(String),
}

impl StopMatcher {
    /// Empty strings are ignored.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(), held: String::new() }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &str) -> Scan {
        if self.stops.is_empty() {
            return Scan::Text(piece.to_owned());
        }
        self.held.push_str(piece);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(at);
            return Scan::Stopped(std::mem::take(&mut self.held));
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Scan::Text(std::mem::replace(&mut self.held, rest))
    }

    /// What was held back, when nothing more comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that are a beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest)
        .rev()
        .find(|&len| stop.is_char_boundary(len) && text.ends_with(&stop[..len]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut matcher = StopMatcher::new(stops.iter().map(ToString::to_string).collect());
        let mut sent = String::new();
        for piece in pieces {
            match matcher.push(piece) {
                Scan::Text(text) => sent += &text,
                Scan::Stopped(text) => return (sent + &text, true),
            }
        }
        (sent + &matcher.finish(), false)
    }

    #[test]
    fn a_stop_string_is_found_across_pieces_and_never_sent() {
        for (stops, pieces, sent, stopped) in [
            (&["END"][..], &["a E", "N", "D b"][..], "a ", true),
            (&["END"], &["a E", "N", "X b"], "a ENX b", false),
            (&["END"], &["a EN"], "a EN", false),
            (&["aab"], &["aa", "ab"], "a", true),
            (&["b", "abc"], &["a", "bc"], "", true),
            (&["long one", "\n\n"], &["x\n", "\ny"], "x", true),
            (&["é!"], &["caf", "é", "!"], "caf", true),
            (&[""], &["a"], "a", false),
        ] {
            assert_eq!(run(stops, pieces), (sent.to_owned(), stopped), "{stops:?} {pieces:?}");
        }
    }
}

//! Texts that end a choice. Owns: finding the first of them in text that comes in pieces, and holding back only what
//! could be the beginning of one. Pure.

/// Looks for stop texts.
#[derive(Debug, Clone)]
pub(super) struct StopMatcher {
    stops: Vec<String>,
    include: bool,
    /// Text that may be the beginning of a stop text.
    held: String,
}

/// What is certain after a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// This much may be shown; no stop text so far.
    Open(String),
    /// A stop text came.
    Stopped {
        /// The last text to be shown.
        text: String,
        /// Which stop text.
        stop: String,
    },
}

impl StopMatcher {
    /// `include`: whether the stop text itself is shown.
    pub(super) fn new(stops: &[String], include: bool) -> Self {
        Self {
            stops: stops.to_vec(),
            include,
            held: String::new(),
        }
    }

    /// Takes the next piece of text.
    pub(super) fn push(&mut self, piece: &str) -> Found {
        if self.stops.is_empty() {
            return Found::Open(piece.to_owned());
        }
        self.held.push_str(piece);
        // The text that begins first wins; of two that begin together the one that was given first.
        let hits = self.stops.iter().filter_map(|stop| {
            let at = self.held.find(stop)?;
            Some((at, stop))
        });
        if let Some((at, stop)) = hits.min_by_key(|(at, _)| *at) {
            let shown = if self.include { stop.len() } else { 0 };
            let stop = stop.clone();
            self.held.truncate(at + shown);
            let text = std::mem::take(&mut self.held);
            return Found::Stopped { text, stop };
        }
        let certain = self.held.len() - self.beginning_len();
        Found::Open(self.held.drain(..certain).collect())
    }

    /// What is held back, when nothing more comes.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end of the held text that begins a stop text.
    fn beginning_len(&self) -> usize {
        let longest = |stop: &String| {
            let most = (stop.len() - 1).min(self.held.len());
            let is_beginning = |length: &usize| {
                stop.is_char_boundary(*length) && self.held.ends_with(&stop[..*length])
            };
            (1..=most).rev().find(is_beginning).unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<_> = stops.iter().map(ToString::to_string).collect();
        let mut matcher = StopMatcher::new(&stops, false);
        let mut shown = String::new();
        for piece in pieces {
            match matcher.push(piece) {
                Found::Open(text) => shown += &text,
                Found::Stopped { text, .. } => return (shown + &text, true),
            }
        }
        (shown + &matcher.finish(), false)
    }

    #[test]
    fn a_stop_text_across_pieces_is_found() {
        assert_eq!(run(&["END"], &["a E", "N", "Dx"]), ("a ".to_owned(), true));
        assert_eq!(
            run(&["END"], &["a E", "N", "d"]),
            ("a ENd".to_owned(), false)
        );
        assert_eq!(run(&["bc", "ab"], &["a", "b", "c"]), (String::new(), true));
        assert_eq!(
            run(&["é!"], &["caf", "é", "?"]),
            ("café?".to_owned(), false)
        );
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), ("a".to_owned(), true));
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        let mut matcher = StopMatcher::new(&["\n\n".to_owned()], true);
        assert_eq!(matcher.push("one\n"), Found::Open("one".to_owned()));
        assert_eq!(matcher.push("two"), Found::Open("\ntwo".to_owned()));
        let stop = "\n\n".to_owned();
        let text = stop.clone();
        assert_eq!(matcher.push("\n\nx"), Found::Stopped { text, stop });
    }

    proptest! {
        #[test]
        fn pieces_say_what_the_whole_says(
            stops in proptest::collection::vec("[ab]{1,3}", 1..3),
            pieces in proptest::collection::vec("[abc]{0,3}", 0..8),
        ) {
            let whole = pieces.concat();
            let first = stops.iter().filter_map(|stop| whole.find(stop)).min();
            let stops: Vec<_> = stops.iter().map(String::as_str).collect();
            let pieces: Vec<_> = pieces.iter().map(String::as_str).collect();
            let (shown, stopped) = run(&stops, &pieces);
            prop_assert_eq!(stopped, first.is_some());
            // A later piece may complete a stop text that begins earlier; until then nothing of it is shown.
            match first {
                None => prop_assert_eq!(shown, whole),
                Some(_) => prop_assert!(whole.starts_with(&shown) && stops.iter().all(|s| !shown.contains(s))),
            }
        }
    }
}

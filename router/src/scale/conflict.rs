//! Two writers of one number. Owns: noticing that someone else writes a resource's `replicas` too, and then leaving it
//! alone for longer and longer: a fight would be won by nobody. Pure.

use lps_api::quantity::Micros;

/// How long the other one's number stands after the first conflict; then twice as long each time.
const PAUSE_MIN: Micros = Micros::from_secs(10);
/// Longest such time.
const PAUSE_MAX: Micros = Micros::from_secs(300);
/// A write that is not seen after this time is made again.
const UNSEEN: Micros = Micros::from_secs(2);

/// The API server keeps no book on who writes through `/scale`.
const UNNAMED: &str = "another client of /scale, such as kubectl scale,";

/// The resource's `replicas` as they were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The number.
    pub(super) replicas: Option<u32>,
    /// Who else has written it, as far as the API server's books tell.
    pub(super) other: Option<String>,
}

/// Someone else who writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rival {
    /// Its name as a field manager.
    pub(super) name: String,
    /// Until when its number stands.
    until: Micros,
    pause: Micros,
}

/// What was written of one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hand {
    /// The number, when it was written, and whether it was seen since.
    written: Option<(u32, Micros, bool)>,
    rival: Option<Rival>,
}

impl Hand {
    /// Who else writes the number.
    pub(super) fn rival(&self) -> Option<&Rival> {
        self.rival.as_ref()
    }

    /// What to write, if anything is.
    pub(super) fn on(&mut self, seen: &Seen, desired: u32, now: Micros) -> Option<u32> {
        self.notice(seen, now);
        if self.rival.as_ref().is_some_and(|rival| now < rival.until) {
            return None;
        }
        if seen.replicas == Some(desired) {
            // Found as wanted: from now on a change is someone else's.
            self.written.get_or_insert((desired, now, true));
            return None;
        }
        let is_on_its_way = self.written.is_some_and(|(number, at, is_seen)| {
            number == desired && !is_seen && now.saturating_sub(at) < UNSEEN
        });
        if is_on_its_way {
            return None;
        }
        self.written = Some((desired, now, false));
        Some(desired)
    }

    fn notice(&mut self, seen: &Seen, now: Micros) {
        let Some((number, at, is_seen)) = self.written else {
            return;
        };
        if seen.replicas == Some(number) {
            self.written = Some((number, at, true));
            let kept_for = now.saturating_sub(at);
            self.rival
                .take_if(|rival| kept_for > rival.pause.saturating_add(rival.pause));
            return;
        }
        // What was seen may be older than the write, but not for long.
        let is_overwritten = is_seen || now.saturating_sub(at) >= UNSEEN;
        if is_overwritten && seen.replicas.is_some() {
            let pause = self.rival.as_ref().map_or(PAUSE_MIN, |rival| {
                rival.pause.saturating_add(rival.pause).min(PAUSE_MAX)
            });
            self.written = None;
            self.rival = Some(Rival {
                name: seen.other.clone().unwrap_or_else(|| UNNAMED.to_owned()),
                until: now.saturating_add(pause),
                pause,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        hand: Hand,
        replicas: u32,
        other: Option<&'static str>,
    }

    impl Bench {
        fn on(&mut self, second: u64, desired: u32) -> Option<u32> {
            let seen = Seen {
                replicas: Some(self.replicas),
                other: self.other.map(str::to_owned),
            };
            let written = self.hand.on(&seen, desired, Micros::from_secs(second));
            if let Some(number) = written {
                (self.replicas, self.other) = (number, None);
            }
            written
        }

        fn scaled_by(&mut self, who: &'static str, replicas: u32) {
            (self.replicas, self.other) = (replicas, Some(who));
        }

        fn rival(&self) -> Option<&str> {
            self.hand.rival().map(|rival| rival.name.as_str())
        }
    }

    #[test]
    fn another_writer_is_named_and_not_fought() {
        let mut bench = Bench {
            hand: Hand::default(),
            replicas: 1,
            other: None,
        };
        assert_eq!(bench.on(0, 2), Some(2));
        assert_eq!(bench.on(1, 2), None, "it is as wanted");
        bench.scaled_by("kubectl", 5);
        assert_eq!((bench.on(2, 2), bench.rival()), (None, Some("kubectl")));
        assert_eq!(bench.on(11, 2), None, "the other's number stands");
        assert_eq!(bench.on(12, 2), Some(2));
        assert_eq!(bench.on(13, 2), None);
        bench.scaled_by("argocd", 5);
        assert_eq!((bench.on(14, 2), bench.rival()), (None, Some("argocd")));
        assert_eq!(bench.on(33, 2), None, "twice as long");
        assert_eq!(bench.on(34, 3), Some(3));
        assert_eq!((bench.on(60, 3), bench.rival()), (None, Some("argocd")));
        assert_eq!((bench.on(75, 3), bench.rival()), (None, None), "it held");
    }

    #[test]
    fn a_number_that_was_found_is_taken_over() {
        let mut bench = Bench {
            hand: Hand::default(),
            replicas: 2,
            other: Some("helm"),
        };
        assert_eq!((bench.on(0, 2), bench.rival()), (None, None));
        bench.scaled_by("kubectl", 7);
        assert_eq!((bench.on(1, 2), bench.rival()), (None, Some("kubectl")));
    }

    #[test]
    fn a_write_that_is_overwritten_before_it_was_seen_is_a_conflict() {
        let mut bench = Bench {
            hand: Hand::default(),
            replicas: 0,
            other: None,
        };
        assert_eq!(bench.on(0, 1), Some(1));
        bench.scaled_by("kubectl", 2);
        assert_eq!((bench.on(1, 2), bench.rival()), (None, None));
        assert_eq!((bench.on(2, 2), bench.rival()), (None, Some("kubectl")));
    }

    #[test]
    fn a_write_that_is_not_seen_is_made_again_later() {
        let mut hand = Hand::default();
        let seen = Seen {
            replicas: None,
            other: None,
        };
        let at = |second| Micros::from_secs(second);
        assert_eq!(hand.on(&seen, 2, at(0)), Some(2));
        assert_eq!(hand.on(&seen, 2, at(1)), None);
        assert_eq!(hand.on(&seen, 2, at(2)), Some(2));
        assert_eq!(
            hand.on(&seen, 3, at(2)),
            Some(3),
            "wanted is something else"
        );
    }
}

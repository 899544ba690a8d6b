//! Texts at which an answer ends, though it may come in pieces.

/// Looks for stop strings in text that comes piece by piece. What may be the beginning of one is
/// held back until it is known.
#[derive(Clone, Debug)]
pub struct StopStrings {
    stops: Vec<String>,
    /// Text that has not come out.
    held: String,
    stopped: bool,
}

impl StopStrings {
    /// Stops at any of these; empty ones are never found.
    pub fn new(stops: impl IntoIterator<Item = String>) -> StopStrings {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        StopStrings { stops, held: String::new(), stopped: false }
    }

    /// Whether a stop string has come; nothing comes out any more.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Adds a piece, and gives the text that can no longer become part of a stop string. The stop
    /// string that begins first counts.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(piece);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop)).min();
        let open = self.open();
        // One that is still open may turn out to begin before the one that is there.
        if let Some(start) = found.filter(|start| open.is_none_or(|open| *start <= open)) {
            self.stopped = true;
            self.held.truncate(start);
            return std::mem::take(&mut self.held);
        }
        let rest = self.held.split_off(open.unwrap_or(self.held.len()));
        std::mem::replace(&mut self.held, rest)
    }

    /// There is no more: gives what was held back.
    pub fn finish(&mut self) -> String {
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop)).min();
        if let Some(start) = found {
            self.stopped = true;
            self.held.truncate(start);
        }
        std::mem::take(&mut self.held)
    }

    /// Where the first end of the text begins that is the beginning of a stop string, but not all
    /// of it.
    fn open(&self) -> Option<usize> {
        let longest = self.stops.iter().map(String::len).max()?;
        let least = self.held.len().saturating_sub(longest - 1);
        let mut places = self.held.char_indices().map(|(at, _)| at).filter(|&at| at >= least);
        places.find(|&at| {
            let end = &self.held[at..];
            self.stops.iter().any(|stop| stop.len() > end.len() && stop.starts_with(end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut stop = StopStrings::new(stops.iter().map(|&s| s.to_owned()));
        let mut text: String = pieces.iter().map(|piece| stop.push(piece)).collect();
        text += &stop.finish();
        (text, stop.stopped())
    }

    #[test]
    fn a_stop_string_may_come_in_pieces() {
        assert_eq!(all(&["\nUser:"], &["Hi", ".\nU", "se", "r", ": and"]), ("Hi.".into(), true));
        assert_eq!(all(&["\nUser:"], &["Hi.\nUse", " it"]), ("Hi.\nUse it".into(), false));
        assert_eq!(all(&["", "é🦀"], &["é", "é", "🦀"]), ("é".into(), true));
        assert_eq!(all(&[], &["a", "b"]), ("ab".into(), false));
    }

    #[test]
    fn text_comes_out_as_soon_as_it_can() {
        let mut stop = StopStrings::new(["END".to_owned()]);
        assert_eq!(stop.push("one E"), "one ");
        assert_eq!(stop.push("N"), "");
        assert_eq!(stop.push("E"), "EN");
        assert_eq!(stop.push("nd"), "End");
        assert_eq!(stop.finish(), "");
    }

    #[test]
    fn the_first_one_counts_even_if_it_is_complete_later() {
        assert_eq!(all(&["abcd", "b"], &["ab", "cd"]), (String::new(), true));
        assert_eq!(all(&["abcd", "b"], &["ab", "x"]), ("a".into(), true));
        assert_eq!(all(&["abcd", "b"], &["ab"]), ("a".into(), true));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            pieces in prop::collection::vec("[abé]{0,4}", 0..12),
            stops in prop::collection::vec("[abé]{0,4}", 0..4),
        ) {
            let whole = pieces.concat();
            let searched = stops.iter().filter(|stop| !stop.is_empty());
            let expected = searched.filter_map(|stop| whole.find(stop.as_str())).min();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (text, stopped) = all(&stops, &pieces);
            prop_assert_eq!(stopped, expected.is_some());
            prop_assert_eq!(text, &whole[..expected.unwrap_or(whole.len())]);
        }
    }
}

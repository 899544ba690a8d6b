//! Sets of ids that are written as text.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A set of token ids. As text it is its ranges, such as `0-99,105,200-31999`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct IdSet {
    /// First and last id of each range, ascending, with a gap between any two.
    ranges: Vec<(u32, u32)>,
}

impl IdSet {
    /// The set of these ids, each at least as large as the one before.
    ///
    /// # Panics
    /// If one is smaller.
    pub fn from_ascending(ids: impl IntoIterator<Item = u32>) -> IdSet {
        let mut set = IdSet::default();
        ids.into_iter().for_each(|id| set.append(id, id));
        set
    }

    /// Adds a range that begins within the last one or behind it.
    fn append(&mut self, first: u32, last: u32) {
        match self.ranges.last_mut() {
            Some(range) if first <= range.1.saturating_add(1) => {
                assert!(first >= range.0, "ids ascend");
                range.1 = range.1.max(last);
            }
            _ => self.ranges.push((first, last)),
        }
    }

    /// How many ids there are.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether this id is among them.
    pub fn contains(&self, id: u32) -> bool {
        let behind = self.ranges.partition_point(|range| range.0 <= id);
        behind > 0 && id <= self.ranges[behind - 1].1
    }

    /// The ids of both sets.
    pub fn union(&self, other: &IdSet) -> IdSet {
        let mut all: Vec<_> = self.ranges.iter().chain(&other.ranges).copied().collect();
        all.sort_unstable();
        let mut union = IdSet::default();
        all.into_iter().for_each(|(first, last)| union.append(first, last));
        union
    }
}

impl fmt::Display for IdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl From<IdSet> for String {
    fn from(set: IdSet) -> String {
        set.to_string()
    }
}

impl TryFrom<String> for IdSet {
    type Error = String;

    fn try_from(text: String) -> Result<IdSet, String> {
        let mut set = IdSet::default();
        for range in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            match (first.parse(), last.parse()) {
                (Ok(first), Ok(last))
                    if first <= last && set.ranges.last().is_none_or(|r| r.1 < first) =>
                {
                    set.append(first, last);
                }
                _ => return Err(format!("`{range}` is not the next range of a set of ids")),
            }
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<IdSet, serde_json::Error> {
        serde_json::from_value(serde_json::Value::from(text))
    }

    #[test]
    fn a_set_reads_back_from_its_text() {
        let set = IdSet::from_ascending([0, 1, 1, 2, 7, 9, 10, u32::MAX]);
        assert_eq!(set.to_string(), "0-2,7,9-10,4294967295");
        assert_eq!(serde_json::to_value(&set).unwrap(), set.to_string());
        assert_eq!(parse(&set.to_string()).unwrap(), set);
        assert_eq!(parse("").unwrap(), IdSet::default());
        assert_eq!(set.len(), 7);
        let inside = [0, 1, 2, 7, 9, 10, u32::MAX];
        assert!(inside.iter().all(|&id| set.contains(id)));
        assert!([3, 6, 8, 11, u32::MAX - 1].iter().all(|&id| !set.contains(id)));
        // Ranges that touch are one.
        assert_eq!(parse("1-2,3-4").unwrap().to_string(), "1-4");
        assert!(!IdSet::default().contains(0) && IdSet::default().is_empty());
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for wrong in [",", "1,", "-", "1-", "2-1", "3,3", "5,4", "1-4,3-6", "4294967296", "x", " 1"]
        {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains("set of ids"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_union_has_the_ids_of_both() {
        let (a, b) = (parse("0-3,8,20-30").unwrap(), parse("4,9-21,25-26,40").unwrap());
        assert_eq!(a.union(&b).to_string(), "0-4,8-30,40");
        assert_eq!(a.union(&b), b.union(&a));
        assert_eq!(a.union(&IdSet::default()), a);
    }
}

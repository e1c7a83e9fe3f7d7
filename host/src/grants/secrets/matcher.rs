//! Finds any of many texts in another one, in a single pass whatever their number: the automaton of Aho and Corasick.
//!
//! The texts are secrets. So the automaton is our own: what it keeps of them is overwritten when it is dropped, which
//! no library does, and it is a few arrays whose size is known beforehand, [`NODE_BYTES`] for each byte of the texts.

use std::{fmt, ops::Range};

use zeroize::Zeroizing;

/// Memory for each byte that is looked for: a byte, and a number in each of the three other arrays.
pub(crate) const NODE_BYTES: usize = 13;

/// The node of the empty text.
const ROOT: u32 = 0;

/// Texts to be found. Each node stands for the beginning of one of them; shorter beginnings come first, and nodes with
/// the same parent stand together, in the order of their bytes.
#[derive(Clone)]
pub(crate) struct SecretMatcher {
    /// The last byte of each node; the root's means nothing.
    bytes: Zeroizing<Vec<u8>>,
    /// The first child of each node. They end where those of the next node begin, so there is one number more.
    children: Vec<u32>,
    /// The node of the longest end of a node that is a beginning, too: where to go on when no child fits.
    fallbacks: Vec<u32>,
    /// How long the longest text is that a node ends with; 0 if it ends with none.
    ends: Vec<u32>,
    shortest: usize,
    longest: usize,
}

/// The texts that begin with a node, while the automaton is built: they stand together as they are sorted.
struct Span {
    texts: Range<usize>,
    depth: usize,
}

impl SecretMatcher {
    /// Prepares to look for these texts, which are not empty and have fewer than 4 GiB together.
    pub(crate) fn new(mut texts: Vec<&str>) -> Self {
        texts.sort_unstable();
        texts.dedup();
        let lengths = texts.iter().map(|text| text.len());
        let nodes = 1 + lengths.clone().sum::<usize>();
        // What is secret must not be copied when there is no more room: the copy left behind would stay.
        let mut bytes = Zeroizing::new(Vec::with_capacity(nodes));
        let (mut children, mut ends) = (Vec::with_capacity(nodes + 1), Vec::with_capacity(nodes));
        let mut spans = vec![Span {
            texts: 0..texts.len(),
            depth: 0,
        }];
        bytes.push(0);
        let mut node = 0;
        while let Some(Span { texts: span, depth }) = spans.get(node) {
            let (mut at, end, depth) = (span.start, span.end, *depth);
            children.push(number(spans.len()));
            // The shortest of those with one beginning comes first.
            let is_whole = at < end && texts[at].len() == depth;
            ends.push(if is_whole { number(depth) } else { 0 });
            at += usize::from(is_whole);
            while at < end {
                let byte = texts[at].as_bytes()[depth];
                let alike = texts[at..end].iter().take_while(|text| text.as_bytes()[depth] == byte);
                let next = at + alike.count();
                bytes.push(byte);
                spans.push(Span {
                    texts: at..next,
                    depth: depth + 1,
                });
                at = next;
            }
            node += 1;
        }
        children.push(number(spans.len()));
        let mut matcher = Self {
            fallbacks: vec![ROOT; bytes.len()],
            bytes,
            children,
            ends,
            shortest: lengths.clone().min().unwrap_or(usize::MAX),
            longest: lengths.max().unwrap_or(0),
        };
        matcher.link();
        matcher
    }

    /// Finds the fallbacks of all nodes, those of shorter ones first.
    fn link(&mut self) {
        for parent in 0..number(self.bytes.len()) {
            for child in self.children_of(parent) {
                let byte = self.bytes[child];
                let fallback = match parent {
                    ROOT => ROOT,
                    _ => self.next(self.fallbacks[parent as usize], byte),
                };
                self.fallbacks[child] = fallback;
                if self.ends[child] == 0 {
                    self.ends[child] = self.ends[fallback as usize];
                }
            }
        }
    }

    /// The length of the longest text in bytes; 0 if there is none.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Where any of the texts stands, in order. Places that overlap or adjoin are one.
    pub(crate) fn places(&self, haystack: &str) -> Vec<Range<usize>> {
        let mut places: Vec<Range<usize>> = Vec::new();
        if haystack.len() < self.shortest {
            return places;
        }
        let mut node = ROOT;
        for (at, byte) in haystack.bytes().enumerate() {
            node = self.next(node, byte);
            let length = self.ends[node as usize] as usize;
            if length > 0 {
                let mut place = at + 1 - length..at + 1;
                // A longer text may begin before those that were found inside it.
                while let Some(earlier) = places.pop_if(|earlier| earlier.end >= place.start) {
                    place.start = place.start.min(earlier.start);
                }
                places.push(place);
            }
        }
        places
    }

    /// The node of the longest beginning that the text of a node and one more byte end with.
    fn next(&self, mut node: u32, byte: u8) -> u32 {
        loop {
            let children = self.children_of(node);
            if let Ok(at) = self.bytes[children.clone()].binary_search(&byte) {
                return number(children.start + at);
            }
            if node == ROOT {
                return ROOT;
            }
            node = self.fallbacks[node as usize];
        }
    }

    fn children_of(&self, node: u32) -> Range<usize> {
        let node = node as usize;
        self.children[node] as usize..self.children[node + 1] as usize
    }
}

impl fmt::Debug for SecretMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretMatcher(***)")
    }
}

fn number(node: usize) -> u32 {
    u32::try_from(node).expect("there are fewer than 4 GiB of texts")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each byte that is part of any text, found one by one.
    fn covered(texts: &[String], haystack: &str) -> Vec<bool> {
        let mut covered = vec![false; haystack.len()];
        for text in texts {
            let starts = (0..haystack.len()).filter(|&at| haystack.as_bytes()[at..].starts_with(text.as_bytes()));
            for start in starts {
                covered[start..start + text.len()].fill(true);
            }
        }
        covered
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_one_by_one_would_find(
            texts in prop::collection::vec("[abé]{1,6}", 0..12),
            haystack in "[abcé]{0,60}",
        ) {
            let places = SecretMatcher::new(texts.iter().map(String::as_str).collect()).places(&haystack);
            let mut found = vec![false; haystack.len()];
            for place in &places {
                prop_assert!(haystack.get(place.clone()).is_some(), "a character is cut at {place:?}");
                found[place.clone()].fill(true);
            }
            prop_assert_eq!(found, covered(&texts, &haystack));
            prop_assert!(places.is_sorted_by(|one, next| one.end < next.start), "{places:?}");
        }
    }

    #[test]
    fn texts_that_overlap_are_one_place() {
        let matcher = SecretMatcher::new(vec!["abcd", "cdef", "bcdefgh", "xy"]);
        assert_eq!(matcher.places("-abcdefgh-abcdefxyxy-"), [1..9, 10..20]);
        assert_eq!(matcher.places("bcdefg cdef"), [1..5, 7..11]);
        assert_eq!(matcher.longest(), 7);
    }

    #[test]
    fn nothing_is_found_where_nothing_is_looked_for() {
        let none = SecretMatcher::new(Vec::new());
        assert_eq!((none.places("anything"), none.longest()), (vec![], 0));
    }

    #[test]
    fn memory_is_bounded_by_the_bytes_that_are_looked_for() {
        let texts: Vec<String> = (0..1_000).map(|n| format!("{n:04}{}", "x".repeat(n % 50))).collect();
        let bytes: usize = texts.iter().map(String::len).sum();
        let matcher = SecretMatcher::new(texts.iter().map(String::as_str).collect());
        let kept = matcher.bytes.len() + 4 * (matcher.children.len() + matcher.fallbacks.len() + matcher.ends.len());
        assert!(kept <= (bytes + 2) * NODE_BYTES, "{kept} for {bytes}");
    }
}

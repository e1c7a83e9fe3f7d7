//! Finds many texts in another one in a single pass, with the Aho-Corasick automaton.
//!
//! The texts are secrets, so we have our own implementation: it zeroizes its copy of them when it is dropped, which no
//! library does, and it consists of a few arrays with a known size, [`NODE_BYTES`] for each byte of the texts.

use std::{fmt, ops::Range};

use zeroize::Zeroizing;

/// Memory for each byte of the texts: the byte, and a number in each of the three other arrays.
pub(crate) const NODE_BYTES: usize = 13;

/// The node of the empty text.
const ROOT: u32 = 0;

/// The automaton. Each node stands for a prefix of a text. Shorter prefixes come first, and nodes with the same parent are
/// adjacent, in the order of their bytes.
#[derive(Clone)]
pub(crate) struct SecretMatcher {
    /// The last byte of each node. That of the root has no meaning.
    bytes: Zeroizing<Vec<u8>>,
    /// The first child of each node. Its children end where those of the next node begin, so there is one more number.
    children: Vec<u32>,
    /// The node of the longest suffix of each node that is also a prefix of a text: where to continue without a matching
    /// child.
    fallbacks: Vec<u32>,
    /// The length of the longest text that is a suffix of each node; 0 if there is none.
    ends: Vec<u32>,
    shortest: usize,
    longest: usize,
}

/// While the automaton is built: the texts with the prefix of a node, which are adjacent because they are sorted.
struct Span {
    texts: Range<usize>,
    depth: usize,
}

impl SecretMatcher {
    /// Builds the automaton for these texts, which must not be empty and have less than 4 GiB together.
    pub(crate) fn new(mut texts: Vec<&str>) -> Self {
        texts.sort_unstable();
        texts.dedup();
        let lengths = texts.iter().map(|text| text.len());
        let nodes = 1 + lengths.clone().sum::<usize>();
        // The vector must not grow: that would copy the secrets and leave the old copy in memory.
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
            // The text that equals the prefix, if any, comes first.
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

    /// Computes the fallbacks of all nodes, shorter prefixes first.
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

    /// The places of all texts in order. Overlapping and adjacent places are merged.
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
                // A longer text may begin before texts that were found inside it.
                while let Some(earlier) = places.pop_if(|earlier| earlier.end >= place.start) {
                    place.start = place.start.min(earlier.start);
                }
                places.push(place);
            }
        }
        places
    }

    /// The node of the longest prefix of a text that is a suffix of this node plus one more byte.
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

    /// Whether each byte is part of any text, computed text by text.
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
        fn the_automaton_finds_the_same_as_a_search_for_each_text(
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
    fn overlapping_texts_are_one_place() {
        let matcher = SecretMatcher::new(vec!["abcd", "cdef", "bcdefgh", "xy"]);
        assert_eq!(matcher.places("-abcdefgh-abcdefxyxy-"), [1..9, 10..20]);
        assert_eq!(matcher.places("bcdefg cdef"), [1..5, 7..11]);
        assert_eq!(matcher.longest(), 7);
    }

    #[test]
    fn without_texts_nothing_is_found() {
        let none = SecretMatcher::new(Vec::new());
        assert_eq!((none.places("anything"), none.longest()), (vec![], 0));
    }

    #[test]
    fn memory_is_bounded_by_the_bytes_of_the_texts() {
        let texts: Vec<String> = (0..1_000).map(|n| format!("{n:04}{}", "x".repeat(n % 50))).collect();
        let bytes: usize = texts.iter().map(String::len).sum();
        let matcher = SecretMatcher::new(texts.iter().map(String::as_str).collect());
        let kept = matcher.bytes.len() + 4 * (matcher.children.len() + matcher.fallbacks.len() + matcher.ends.len());
        assert!(kept <= (bytes + 2) * NODE_BYTES, "{kept} for {bytes}");
    }
}

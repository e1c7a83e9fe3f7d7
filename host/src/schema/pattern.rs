//! Measures a pattern before it is compiled: its memory, and the time that it takes to match a text.
//!
//! The pattern is translated as the validator translates it and compiled to an NFA, without the engines around it. If
//! the DFA of the pattern is small, matching takes a few nanoseconds for each byte. Otherwise the engine may have to
//! simulate the NFA, and visits all of its states for each byte.

use std::collections::BTreeSet;

use jsonschema_regex::Search;
use regex_automata::{
    Input,
    hybrid::dfa::DFA,
    nfa::thompson::{NFA, WhichCaptures},
};

/// Maximum length of a pattern, in bytes.
pub(super) const MAX_PATTERN_BYTES: usize = 4 << 10;
/// Maximum size of a compiled pattern, in bytes. It allows a bounded repetition of a class, but not a thousand of them.
pub(super) const MAX_NFA_BYTES: usize = 64 << 10;
/// The memory in which a matching thread keeps the states of the DFA, in bytes.
pub(super) const DFA_CACHE_BYTES: usize = 64 << 10;

/// Threads that match with the same pattern at the same time. Each gets its own caches.
const THREADS: u64 = 4;
/// Memory for each byte of the pattern: its text, the literals in it, and a searcher for them.
const BYTES_PER_BYTE: u64 = 64;
/// Memory of any compiled pattern, in bytes.
const FIXED_BYTES: u64 = 8 << 10;
/// Maximum size of the one-pass DFA of a pattern with groups, in bytes: the default of the engine.
const MAX_ONE_PASS_BYTES: u64 = 1 << 20;
/// The bytes of an NFA that are visited in the time of one [visit](super::cost), which are about 20 nanoseconds.
const NFA_BYTES_PER_VISIT: u64 = 16;
/// An engine that computes a new state of the DFA for every tenth byte or more often gives up and simulates the NFA.
const BYTES_PER_NEW_STATE: u64 = 10;
/// Maximum work to find out whether the DFA of one pattern is small, in states of the NFA for each transition. About ten
/// milliseconds.
const MAX_DFA_WORK: u64 = 8_000_000;

/// What a pattern costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The memory of the compiled pattern and of the caches of a few threads, in bytes.
    pub(super) bytes: u64,
    /// The time to match one byte of a text, in visits.
    pub(super) visits_per_byte: u64,
}

impl Pattern {
    /// Measures a pattern. `work` is what may be spent on looking for small DFAs, and is reduced by what was spent.
    ///
    /// A pattern that cannot be measured gets the maximum; the compiler rejects most of them.
    pub(super) fn measure(pattern: &str, work: &mut u64) -> Self {
        let text_bytes = FIXED_BYTES + pattern.len() as u64 * BYTES_PER_BYTE;
        match engine_pattern(pattern) {
            Err(()) => Self::of_nfa(text_bytes, &Nfa::LARGEST),
            // The validator counts characters instead of using an engine.
            Ok(None) => Self {
                bytes: text_bytes,
                visits_per_byte: 1,
            },
            Ok(Some(translated)) => match compile(&translated, false) {
                None => Self::of_nfa(text_bytes, &Nfa::LARGEST),
                Some(forward) => Self::of_compiled(text_bytes, &translated, &forward, work),
            },
        }
    }

    fn of_compiled(text_bytes: u64, translated: &str, forward: &NFA, work: &mut u64) -> Self {
        let nfa = Nfa::of(forward);
        let anchored = forward.is_always_start_anchored();
        let small = small_dfa(forward, work).and_then(|forward| {
            if anchored {
                return Some(forward);
            }
            // The engine may search backwards from a literal or from the end of the text.
            let backwards = small_dfa(&compile(translated, true)?, work)?;
            Some(forward + backwards)
        });
        let Some(dfa_bytes) = small else {
            return Self::of_nfa(text_bytes, &nfa);
        };
        // The part in front of a literal may have a larger DFA than the whole.
        let partial = if anchored {
            0
        } else {
            nfa.visits() / BYTES_PER_NEW_STATE
        };
        Self {
            bytes: text_bytes + nfa.code_bytes() + THREADS * (nfa.cache_bytes() + dfa_bytes),
            visits_per_byte: 1 + partial,
        }
    }

    /// The cost of a pattern with a large DFA.
    fn of_nfa(text_bytes: u64, nfa: &Nfa) -> Self {
        Self {
            bytes: text_bytes + nfa.code_bytes() + THREADS * (nfa.cache_bytes() + 2 * DFA_CACHE_BYTES as u64),
            visits_per_byte: nfa.visits(),
        }
    }
}

/// The sizes of an NFA.
struct Nfa {
    bytes: u64,
    states: u64,
    /// Positions that a match records: two for each group, and two for the whole.
    slots: u64,
    /// Bytes of a state of a DFA in which each kind of byte has a transition.
    dfa_state_bytes: u64,
}

impl Nfa {
    /// What the limit on the size of compiled patterns allows.
    const LARGEST: Self = Self {
        bytes: MAX_NFA_BYTES as u64,
        states: MAX_NFA_BYTES as u64 / 24,
        slots: 2,
        dfa_state_bytes: 512,
    };

    fn of(nfa: &NFA) -> Self {
        Self {
            bytes: nfa.memory_usage() as u64,
            states: nfa.states().len() as u64,
            slots: nfa.group_info().slot_len() as u64,
            dfa_state_bytes: 8 << nfa.byte_classes().stride2(),
        }
    }

    /// Memory that all threads share: the NFA forwards and backwards, and the one-pass DFA.
    fn code_bytes(&self) -> u64 {
        let one_pass = if self.slots > 2 {
            MAX_ONE_PASS_BYTES.min(self.states * self.dfa_state_bytes)
        } else {
            0
        };
        4 * self.bytes + one_pass
    }

    /// Memory of each thread that simulates the NFA: two sets of states, with the positions of the groups.
    fn cache_bytes(&self) -> u64 {
        2 * self.states * (16 + 8 * self.slots)
    }

    const fn visits(&self) -> u64 {
        1 + self.bytes / NFA_BYTES_PER_VISIT
    }
}

/// The pattern that the engine gets; `None` if the validator needs no engine.
fn engine_pattern(pattern: &str) -> Result<Option<String>, ()> {
    let translated = jsonschema_regex::to_rust_regex(pattern)?;
    Ok(match jsonschema_regex::search_form(pattern, &translated) {
        Some(Search::RepeatedClass(_)) => None,
        Some(Search::Collapsed(collapsed)) => Some(collapsed),
        None => Some(translated.into_owned()),
    })
}

fn compile(translated: &str, reverse: bool) -> Option<NFA> {
    let captures = if reverse {
        WhichCaptures::None
    } else {
        WhichCaptures::All
    };
    let config = NFA::config()
        .nfa_size_limit(Some(MAX_NFA_BYTES))
        .which_captures(captures)
        .reverse(reverse);
    NFA::compiler().configure(config).build(translated).ok()
}

/// The memory of the whole DFA in bytes, if it fits into the cache of the engine.
fn small_dfa(nfa: &NFA, work: &mut u64) -> Option<u64> {
    let config = DFA::config()
        .cache_capacity(DFA_CACHE_BYTES)
        .skip_cache_capacity_check(true)
        .unicode_word_boundary(true);
    let dfa = DFA::builder().configure(config).build_from_nfa(nfa.clone()).ok()?;
    let mut cache = dfa.create_cache();
    let bytes: Vec<u8> = dfa
        .byte_classes()
        .representatives(0..=255)
        .filter_map(|unit| unit.as_u8())
        .collect();
    let step = nfa.states().len() as u64;
    let mut left = MAX_DFA_WORK.min(*work);
    let start = dfa.start_state_forward(&mut cache, &Input::new("")).ok()?;
    let (mut seen, mut open) = (BTreeSet::from([start]), vec![start]);
    while let Some(state) = open.pop() {
        let cost = step * bytes.len() as u64;
        if cost > left {
            return None;
        }
        (left, *work) = (left - cost, *work - cost);
        for byte in &bytes {
            let next = dfa.next_state(&mut cache, state, *byte).ok()?;
            if cache.clear_count() > 0 || next.is_quit() {
                return None;
            }
            if !next.is_dead() && seen.insert(next) {
                open.push(next);
            }
        }
    }
    Some(cache.memory_usage() as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fuzz::most_taken;

    fn measure(pattern: &str) -> Pattern {
        Pattern::measure(pattern, &mut u64::MAX.clone())
    }

    /// Patterns that people write.
    const ORDINARY: [&str; 11] = [
        "^[a-z0-9-]{1,64}$",
        "^[A-Z]{2}[0-9]{6}$",
        "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$",
        "^[A-Za-z0-9+/]*={0,2}$",
        r"^[^\s@]+@[^\s@]+\.[^\s@]+$",
        r"^(https?|ftp)://[^\s/$.?#].[^\s]*$",
        r"^\S+$",
        "^(draft|sent|paid)$",
        "^x-",
        r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$",
    ];

    /// Patterns that are expensive, most of them on purpose.
    const HOSTILE: [&str; 9] = [
        r"^\p{L}+$",
        "(?:a|ba)[ab]{900}[c-z]",
        "(?:a|ba)[ab]{20}[c-z]",
        "^[ab]{30}a[ab]*$",
        "[ab]{12}a[ab]*$",
        r"(?:[\s\S]|a)*b[\s\S]{40}c",
        "(?:a?b?){200}[ab]{20}c",
        r"^(\p{L}|\p{N})+$",
        "()()()()()()()()()()()()()()()()()()()()(?:a|ba)[ab]{400}[c-z]",
    ];

    #[test]
    fn ordinary_patterns_cost_a_visit_for_each_byte() {
        for pattern in ORDINARY {
            let cost = measure(pattern);
            assert_eq!(cost.visits_per_byte, 1, "{pattern}");
            assert!(cost.bytes < 2 << 20, "{pattern}: {}", cost.bytes);
        }
        for pattern in ["a", "[a-z]+", r"\S+@\S+", "[0-9]$"] {
            let cost = measure(pattern);
            assert!(cost.visits_per_byte < 100, "{pattern}: {}", cost.visits_per_byte);
        }
    }

    #[test]
    fn the_measure_covers_the_memory_of_matching() {
        let texts = ["a", "b", "ab", "aab", "é", "\u{1000}", "x0 "].map(|part| json!(part.repeat(6_000 / part.len())));
        for pattern in ORDINARY.into_iter().chain(HOSTILE) {
            let cost = measure(pattern);
            let schema = json!({ "pattern": pattern }).to_string();
            let taken = most_taken(|| {
                let validator = crate::schema::SchemaValidator::compile(&schema).unwrap();
                for text in &texts {
                    let _ = validator.validator.is_valid(text);
                }
            });
            assert!(
                taken as u64 <= cost.bytes + (1 << 20),
                "{pattern}: {taken} bytes, measured {}",
                cost.bytes
            );
        }
    }

    #[test]
    fn a_pattern_with_a_large_dfa_costs_its_size_for_each_byte() {
        for (pattern, at_least) in [
            ("(?:a|ba)[ab]{900}[c-z]", 1_000),
            ("(?:a|ba)[ab]{20}[c-z]", 20),
            ("[ab]{12}a[ab]*$", 20),
        ] {
            let cost = measure(pattern);
            assert!(cost.visits_per_byte > at_least, "{pattern}: {}", cost.visits_per_byte);
        }
        let mut nothing = 0;
        assert!(
            Pattern::measure("^(a|b)*$", &mut nothing).visits_per_byte > 1,
            "without work"
        );
    }
}

//! Which of the turns and attempts that were running at an unclean end of the host may have caused it.
//!
//! Nobody is blamed for an end at which something else was running that may have caused it. So the suspects run by
//! themselves at the next start, in [quiet periods](super::quiet_periods). An end in a quiet period makes suspects only
//! of what has started in one; everything else is innocent. If there are several, the next start runs the last group in
//! two halves. A culprit that ends the host in its quiet period is soon alone, and an end at which it was alone counts
//! against it.
//!
//! All that must be known for this is in the slots of the flight recorder.

use std::time::Duration;

use super::flight_recorder::{EndsInARow, LeftFlight, Phase};

/// The length of a quiet period after one unclean end: long enough for most activities to end, and hardly longer than a
/// start of a host with much to do.
const SHORTEST: Duration = Duration::from_secs(2);

/// The maximum length of a quiet period, which doubles with each unclean end in a row. Nobody else is served meanwhile, so
/// it is not as long as the longest activities: what ends the host later than this is not found.
const LONGEST: Duration = Duration::from_secs(16);

/// The outcome of an unclean end.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// The suspects, with this end counted, in the groups in which they run at the next start.
    pub groups: Vec<Vec<LeftFlight>>,
    /// What was running, but did not cause the end.
    pub innocent: Vec<LeftFlight>,
}

/// Judges what was running at an unclean end.
pub(super) fn judge(left: &[LeftFlight]) -> Verdict {
    let of = |phase| left.iter().copied().filter(move |left| left.phase == phase);
    let (last, earlier): (Vec<_>, Vec<_>) = (of(Phase::QuietPeriod).collect(), of(Phase::EarlierPeriod).collect());
    let others: Vec<_> = of(Phase::Normal).collect();
    let (groups, innocent) = match (last.is_empty(), earlier.is_empty()) {
        (true, true) => (vec![others], Vec::new()),
        (true, false) => (halves(earlier), others),
        // What ended the host has probably just started, so it runs first.
        (false, _) => ([halves(last), vec![earlier]].concat(), others),
    };
    let is_alone = innocent.len() + 1 == left.len() && left.iter().any(|left| left.phase != Phase::Normal);
    let groups = groups.into_iter().filter(|group| !group.is_empty());
    let counted = groups.map(|group| group.into_iter().map(|left| count(left, is_alone)).collect());
    let innocent = innocent.into_iter().map(|mut left| {
        left.ends.alone = 0;
        left
    });
    Verdict {
        groups: counted.collect(),
        innocent: innocent.collect(),
    }
}

fn halves(mut group: Vec<LeftFlight>) -> Vec<Vec<LeftFlight>> {
    let second = group.split_off(group.len().div_ceil(2));
    vec![group, second]
}

/// Counts one more unclean end.
fn count(mut left: LeftFlight, is_alone: bool) -> LeftFlight {
    let EndsInARow { all, alone } = left.ends;
    left.ends = EndsInARow {
        all: all.saturating_add(1),
        alone: if is_alone { alone.saturating_add(1) } else { 0 },
    };
    left
}

/// How long a group runs by itself.
pub(super) fn quiet_for(group: &[LeftFlight]) -> Duration {
    let ends = group.iter().map(|left| left.ends.all).max().unwrap_or(1);
    let doublings = u32::from(ends.saturating_sub(1)).min(10);
    (SHORTEST * (1 << doublings)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::flight_recorder::Flight;
    use crate::model::{ExecutionNumber, InstanceNumber, TaskId};

    fn left(number: u64, phase: Phase, (all, alone): (u8, u8)) -> LeftFlight {
        let flight = Flight {
            instance: InstanceNumber(number),
            execution: ExecutionNumber::FIRST,
            task: Some(TaskId(1)),
        };
        LeftFlight {
            flight,
            phase,
            ends: EndsInARow { all, alone },
        }
    }

    fn numbers(flights: &[LeftFlight]) -> Vec<u64> {
        flights.iter().map(|left| left.flight.instance.0).collect()
    }

    fn check(left: &[LeftFlight], groups: &[&[u64]], innocent: &[u64]) {
        let verdict = judge(left);
        let found: Vec<_> = verdict.groups.iter().map(|group| numbers(group)).collect();
        assert_eq!(found, groups);
        assert_eq!(numbers(&verdict.innocent), innocent);
    }

    #[test]
    fn all_are_suspects_of_an_end_outside_a_quiet_period_and_none_is_blamed() {
        use Phase::Normal;
        check(&[], &[], &[]);
        let three = [1, 2, 3].map(|number| left(number, Normal, (7, 2)));
        check(&three, &[&[1, 2, 3]], &[]);
        let verdict = judge(&three[..1]);
        assert_eq!(verdict.groups[0][0].ends, EndsInARow { all: 8, alone: 0 });
    }

    #[test]
    fn after_an_end_in_a_quiet_period_the_last_group_runs_in_halves() {
        use Phase::{EarlierPeriod, Normal, QuietPeriod};
        let quiet = |number| left(number, QuietPeriod, (1, 0));
        check(&[1, 2, 3].map(quiet), &[&[1, 2], &[3]], &[]);
        check(&[quiet(1), quiet(2), left(3, Normal, (1, 0))], &[&[1], &[2]], &[3]);
        let earlier = |number| left(number, EarlierPeriod, (1, 0));
        check(&[quiet(4), earlier(1), earlier(2)], &[&[4], &[1, 2]], &[]);
        check(&[earlier(1), earlier(2)], &[&[1], &[2]], &[]);
    }

    #[test]
    fn an_end_counts_against_a_suspect_only_if_it_was_alone() {
        use Phase::{EarlierPeriod, Normal, QuietPeriod};
        let alone = |left: &[LeftFlight]| judge(left).groups[0][0].ends;
        let quiet = left(1, QuietPeriod, (3, 1));
        assert_eq!(alone(&[quiet]), EndsInARow { all: 4, alone: 2 });
        assert_eq!(alone(&[quiet, left(2, Normal, (0, 0))]).alone, 2);
        assert_eq!(alone(&[quiet, left(2, EarlierPeriod, (3, 0))]).alone, 0);
        assert_eq!(alone(&[quiet, left(2, QuietPeriod, (3, 0))]).alone, 0);
        assert_eq!(alone(&[left(1, EarlierPeriod, (3, 1))]).alone, 2);
    }

    /// Runs hosts until something is blamed or there have been many ends. `ends_host` ends it this long after it started.
    fn blamed(flights: u64, ends_host: (u64, Duration)) -> (Option<u64>, u32) {
        let mut left: Vec<_> = (1..=flights)
            .map(|number| left(number, Phase::Normal, (0, 0)))
            .collect();
        for ends in 1..100 {
            let groups = judge(&left).groups;
            if let Some(found) = groups.iter().flatten().find(|left| left.ends.alone >= 3) {
                return (Some(found.flight.instance.0), ends);
            }
            left = run(&groups, ends_host);
        }
        (None, 100)
    }

    /// What a host leaves behind whose suspects never end.
    fn run(groups: &[Vec<LeftFlight>], (culprit, after): (u64, Duration)) -> Vec<LeftFlight> {
        let (mut running, mut since) = (Vec::<LeftFlight>::new(), None::<Duration>);
        for group in groups {
            running.iter_mut().for_each(|left| left.phase = Phase::EarlierPeriod);
            running.extend(group.iter().map(|left| LeftFlight {
                phase: Phase::QuietPeriod,
                ..*left
            }));
            if numbers(group).contains(&culprit) {
                since = Some(Duration::ZERO);
            }
            since = since.map(|since| since + quiet_for(group));
            if since.is_some_and(|since| since > after) {
                return running;
            }
        }
        running.iter_mut().for_each(|left| left.phase = Phase::Normal);
        running
    }

    #[test]
    fn among_activities_that_never_end_only_the_culprit_is_blamed() {
        for flights in [1_u64, 2, 3, 10, 64] {
            for culprit in [1, flights.div_ceil(2), flights] {
                for seconds in [0, 1, 3, 7, 15] {
                    let (found, ends) = blamed(flights, (culprit, Duration::from_secs(seconds)));
                    assert_eq!(found, Some(culprit), "{flights} flights, {seconds} s");
                    assert!(ends < 25, "{flights} flights, {seconds} s: {ends} ends");
                }
            }
        }
    }

    #[test]
    fn quiet_periods_double_with_each_end_up_to_a_limit() {
        let seconds = |ends| quiet_for(&[left(1, Phase::Normal, (ends, 0))]).as_secs();
        assert_eq!([1, 2, 3, 5, 6, 255].map(seconds), [2, 4, 8, 16, 16, 16]);
    }
}

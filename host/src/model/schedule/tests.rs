//! Properties of the times and of the state machine.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::InstanceNumber;

const TENANT: TenantId = TenantId(1);

fn name() -> ScheduleName {
    "report".parse().unwrap()
}

fn every(seconds: u64) -> Schedule {
    let spec = Spec::interval(Duration::from_secs(seconds), Duration::ZERO).unwrap();
    schedule(spec, Overlap::Skip)
}

fn schedule(spec: Spec, overlap: Overlap) -> Schedule {
    Schedule {
        function: "report".parse().unwrap(),
        input: Payload::parse("{}", usize::MAX).unwrap(),
        tags: Tags::default(),
        spec,
        overlap,
        catch_up: Duration::from_secs(60),
        jitter: Duration::ZERO,
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1_000)
}

fn last(nominal: Timestamp) -> LastStart {
    LastStart {
        id: name().instance_at(nominal),
        number: InstanceNumber(nominal.0),
    }
}

#[test]
fn the_id_of_an_instance_tells_the_time_and_whether_it_was_started_by_hand() {
    let at = Timestamp(1_796_032_800_000);
    assert_eq!(name().instance_at(at).as_str(), "report-2026-11-30T10:00:00Z");
    assert_eq!(name().instance_by_hand(at).as_str(), "report-2026-11-30T10:00:00.000Z");
    let longest: ScheduleName = "x".repeat(MAX_SCHEDULE_NAME_BYTES).parse().unwrap();
    assert!(longest.instance_by_hand(Timestamp::MAX).as_str().ends_with(".999Z"));
    for wrong in [
        "",
        "-a",
        "a b",
        "a/b",
        "@a",
        "é",
        &"x".repeat(MAX_SCHEDULE_NAME_BYTES + 1),
    ] {
        assert!(wrong.parse::<ScheduleName>().is_err(), "{wrong}");
    }
}

#[test]
fn an_interval_is_whole_seconds_and_longer_than_its_offset() {
    let (second, zero) = (Duration::from_secs(1), Duration::ZERO);
    for (every, offset, parameter) in [
        (zero, zero, "interval"),
        (Duration::from_millis(1_500), zero, "interval"),
        (Duration::from_secs(400_000_000), zero, "interval"),
        (second, second, "offset"),
        (2 * second, Duration::from_millis(1), "offset"),
    ] {
        let refused = Spec::interval(every, offset).unwrap_err();
        assert_eq!(refused.0, parameter, "{every:?} {offset:?}");
    }
}

#[test]
fn times_are_selected_only_between_the_first_and_the_last() {
    let spec = every(10).spec.between(Some(at(25)), Some(at(40)));
    assert_eq!(spec.next(at(0)), Some(at(30)));
    assert_eq!(spec.next(at(30)), Some(at(40)));
    assert_eq!(spec.next(at(40)), None);
    let exact = every(10).spec.between(Some(at(30)), None);
    assert_eq!(exact.next(at(0)), Some(at(30)));
    let cron = Spec::cron("*/5 * * * *", "UTC").unwrap().between(Some(at(301)), None);
    assert_eq!(cron.next(at(0)), Some(at(600)));
    assert_eq!(every(1).spec.next(Timestamp::MAX), None);
}

#[test]
fn a_stored_schedule_reads_back_the_same() {
    let cron = Spec::cron("0 9 * * MON", "Europe/Berlin").unwrap();
    for spec in [cron.between(Some(at(1)), Some(at(2))), every(7).spec] {
        let schedule = schedule(spec, Overlap::Terminate);
        assert_eq!(Schedule::from_stored(schedule.stored()), Ok(schedule));
    }
}

#[test]
fn a_running_instance_makes_skip_skip_and_queue_one_keep_one() {
    let (name, now) = (name(), at(35));
    let state = ScheduleState::new(at(0)).started(at(10), last(at(10)), at(10));
    let decide = |state: &ScheduleState, overlap, running| {
        state.decide(&schedule(every(10).spec, overlap), (TENANT, &name), now, running)
    };
    let Step::Record(skipped) = decide(&state, Overlap::Skip, Running::Yes) else {
        panic!("not skipped");
    };
    assert_eq!((skipped.decided, skipped.counts.skipped), (at(30), 2));
    let Step::Record(queued) = decide(&state, Overlap::QueueOne, Running::Yes) else {
        panic!("not queued");
    };
    assert_eq!((queued.decided, queued.buffered), (at(20), Some((at(20), now))));
    let Step::Record(full) = decide(&queued, Overlap::QueueOne, Running::Yes) else {
        panic!("not skipped");
    };
    assert_eq!((full.decided, full.counts.skipped), (at(30), 1));
    assert_eq!(decide(&full, Overlap::QueueOne, Running::Yes), Step::Wait(Some(at(36))));
    let start = |nominal, ends_running| Step::Start { nominal, ends_running };
    assert_eq!(decide(&full, Overlap::QueueOne, Running::No), start(at(20), false));
    assert_eq!(decide(&state, Overlap::Allow, Running::Yes), start(at(20), false));
    // Of two due times, the first would be ended by the second at once.
    let Step::Record(one_left) = decide(&state, Overlap::Terminate, Running::Yes) else {
        panic!("not skipped");
    };
    assert_eq!((one_left.decided, one_left.counts.skipped), (at(20), 1));
    assert_eq!(decide(&one_left, Overlap::Terminate, Running::Yes), start(at(30), true));
}

#[test]
fn times_before_the_catch_up_window_are_missed_and_the_others_start() {
    let (name, schedule) = (name(), every(10));
    let state = ScheduleState::new(at(0));
    let decide = |state: &ScheduleState| state.decide(&schedule, (TENANT, &name), at(1_000), Running::No);
    let Step::Record(state) = decide(&state) else {
        panic!("nothing missed");
    };
    // The window is a minute: 940 may still start.
    assert_eq!((state.decided, state.counts.missed), (at(930), 93));
    let expected = Step::Start {
        nominal: at(940),
        ends_running: false,
    };
    assert_eq!(decide(&state), expected);
    assert_eq!(state.recent[0].times, 93);
}

#[test]
fn a_refused_start_is_tried_again_until_its_window_has_passed() {
    let (name, schedule) = (name(), every(10));
    let decide = |state: &ScheduleState, now| state.decide(&schedule, (TENANT, &name), now, Running::No);
    let state = ScheduleState::new(at(0)).refused(at(10), "no module", Duration::ZERO, at(10));
    assert_eq!(decide(&state, at(10)), Step::Wait(Some(at(11))));
    assert_eq!(state.next_look(&schedule, (TENANT, &name), at(10)), Some(at(11)));
    let again = Step::Start {
        nominal: at(10),
        ends_running: false,
    };
    assert_eq!(decide(&state, at(11)), again);
    let state = state.refused(at(10), "no module", Duration::ZERO, at(11));
    assert_eq!(decide(&state, at(11)), Step::Wait(Some(at(13))));
    let Step::Record(failed) = decide(&state, at(71)) else {
        panic!("not given up");
    };
    assert_eq!(
        (failed.decided, failed.counts.failed, failed.refused.is_none()),
        (at(10), 1, true)
    );
    assert_eq!(
        failed.recent[0].outcome,
        OccasionOutcome::Failed {
            reason: "no module".into()
        }
    );
}

#[test]
fn a_queued_start_that_was_refused_and_must_wait_again_is_not_looked_at_all_the_time() {
    let (name, now) = (name(), at(100));
    let schedule = schedule(every(1_000).spec, Overlap::QueueOne);
    let queued = ScheduleState {
        buffered: Some((at(90), at(90))),
        ..ScheduleState::new(at(90))
    };
    let refused = queued.refused(at(90), "no room", Duration::ZERO, at(95));
    let next = refused.next_look(&schedule, (TENANT, &name), now);
    assert!(next.is_some_and(|next| next > now), "{next:?}");
    let decided = refused.decide(&schedule, (TENANT, &name), now, Running::Yes);
    assert_eq!(decided, Step::Wait(next));
}

#[test]
fn a_paused_schedule_waits_and_forgets_nothing() {
    let (name, schedule) = (name(), every(10));
    let paused = ScheduleState::new(at(0)).paused("maintenance");
    let decide = |state: &ScheduleState, now| state.decide(&schedule, (TENANT, &name), now, Running::No);
    assert_eq!(decide(&paused, at(50)), Step::Wait(None));
    assert_eq!(paused.next_look(&schedule, (TENANT, &name), at(50)), None);
    assert!(matches!(decide(&paused.resumed(), at(50)), Step::Start { nominal, .. } if nominal == at(10)));
}

fn specs() -> impl Strategy<Value = Spec> {
    prop_oneof![
        (1_u64..200, 0_u64..200).prop_map(|(every, offset)| {
            Spec::interval(Duration::from_secs(every), Duration::from_secs(offset % every)).unwrap()
        }),
        prop_oneof![Just("* * * * *"), Just("*/7 * * * *"), Just("3 1-3 * * *")].prop_map(|cron| Spec::cron(
            cron,
            "Europe/Berlin"
        )
        .unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_interval_is_that_of_a_search_through_all_seconds(
        every in 1_u64..500, offset in 0_u64..500, after in 0_u64..5_000_000,
    ) {
        let offset = offset % every;
        let spec = Spec::interval(Duration::from_secs(every), Duration::from_secs(offset)).unwrap();
        let found = spec.next(Timestamp(after)).unwrap();
        let second = (after / 1_000 + 1..).find(|second| *second >= offset && (second - offset).is_multiple_of(every));
        prop_assert_eq!(Some(found.0), second.map(|second| second * 1_000));
    }

    #[test]
    fn counting_times_is_the_same_as_walking_through_them(
        spec in specs(), after in 0_u64..100_000_000, length in 0_u64..20_000_000,
    ) {
        let until = Timestamp(after + length);
        let (mut count, mut last) = (0, Timestamp(after));
        while let Some(next) = spec.next(last).filter(|next| *next <= until) {
            prop_assert!(next > last);
            (count, last) = (count + 1, next);
        }
        prop_assert_eq!(spec.count(Timestamp(after), until, u64::MAX), (count > 0).then_some((count, last)));
    }

    #[test]
    fn jitter_delays_a_time_but_never_beyond_the_next_and_is_always_the_same(
        spec in specs(), jitter in 0_u64..1_000_000, after in 0_u64..100_000_000,
    ) {
        let schedule = Schedule { jitter: Duration::from_millis(jitter), ..schedule(spec, Overlap::Skip) };
        let due = schedule.next_due(TENANT, &name(), Timestamp(after)).unwrap();
        let following = schedule.next_due(TENANT, &name(), due.nominal).unwrap();
        prop_assert!(due.nominal <= due.at && due.at.0 - due.nominal.0 <= jitter);
        prop_assert!(due.at < following.nominal && following.nominal <= following.at);
        prop_assert_eq!(schedule.next_due(TENANT, &name(), Timestamp(after)), Some(due));
    }

    /// Runs a schedule while the clock jumps, instances run and end, starts are refused, and it is paused.
    #[test]
    fn every_time_is_decided_once_whatever_the_clock_and_the_instances_do(
        spec in specs(),
        overlap in prop_oneof![
            Just(Overlap::Skip), Just(Overlap::QueueOne), Just(Overlap::Allow), Just(Overlap::Terminate),
            Just(Overlap::Cancel)
        ],
        jitter in 0_u64..5_000,
        steps in proptest::collection::vec((-300_i64..600, 0_u8..12, any::<bool>()), 1..60),
    ) {
        let begin = at(1_000_000);
        let schedule = Schedule { jitter: Duration::from_millis(jitter), ..schedule(spec, overlap) };
        let name = name();
        let (mut state, mut now) = (ScheduleState::new(begin), begin);
        let (mut started, mut by_hand) = (BTreeSet::new(), 0);
        for (jump, event, runs) in steps {
            now = Timestamp((i64::try_from(now.0).unwrap() + jump * 1_000).try_into().unwrap());
            match event {
                0 => state = state.paused("because"),
                1 => state = state.resumed(),
                2 => {
                    state = state.started_by_hand(last(now), now);
                    by_hand += 1;
                }
                _ => {}
            }
            let mut running = if runs && state.last.is_some() { Running::Yes } else { Running::No };
            for round in 0.. {
                prop_assert!(round < 1_000, "it never waits: {state:?}");
                match state.decide(&schedule, (TENANT, &name), now, running) {
                    Step::Wait(next) => {
                        prop_assert_eq!(next.is_none(), state.paused.is_some());
                        prop_assert_eq!(next, state.next_look(&schedule, (TENANT, &name), now));
                        break;
                    }
                    Step::Record(next) => {
                        prop_assert!(next.decided > state.decided || *next != state);
                        state = *next;
                    }
                    Step::Start { nominal, ends_running } => {
                        prop_assert!(schedule.spec.next(Timestamp(nominal.0 - 1)) == Some(nominal));
                        prop_assert!(nominal <= now || state.buffered.is_some() || state.refused.is_some());
                        prop_assert_eq!(ends_running, running == Running::Yes && overlap.ends_running());
                        prop_assert!(running == Running::No || matches!(overlap, Overlap::Allow | Overlap::Terminate | Overlap::Cancel));
                        if event == 3 {
                            state = state.refused(nominal, "no room", Duration::ZERO, now);
                        } else {
                            prop_assert!(started.insert(nominal), "{nominal} starts twice");
                            state = state.started(nominal, last(nominal), now);
                            running = if runs { Running::Yes } else { Running::No };
                        }
                    }
                }
            }
        }
        let all = schedule.spec.count(begin, state.decided, u64::MAX).map_or(0, |(count, _)| count);
        let Counts { started: starts, skipped, missed, failed } = state.counts;
        let waiting = u64::from(state.buffered.is_some());
        prop_assert_eq!(starts, started.len() as u64 + by_hand);
        prop_assert_eq!(all, started.len() as u64 + skipped + missed + failed + waiting);
        prop_assert!(state.recent.len() <= RECENT_KEPT);
    }
}

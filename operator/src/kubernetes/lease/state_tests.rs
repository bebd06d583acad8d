//! The election's rules case by case.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn timing() -> Timing {
    Timing::new(15 * SECOND, 10 * SECOND, 2 * SECOND).unwrap()
}

fn candidate() -> (Election, Instant) {
    (Election::new("me".into(), timing()), Instant::now())
}

fn stored(holder: Option<&str>, version: &str, renewed: Timestamp) -> Stored {
    let record = Record {
        holder: holder.map(str::to_owned),
        duration: 15 * SECOND,
        acquired: renewed,
        renewed,
        transitions: 3,
    };
    Stored { record, version: version.into() }
}

fn wall() -> Timestamp {
    Timestamp::UNIX_EPOCH + 500_000 * SECOND
}

fn leading() -> (Election, Instant) {
    let (mut election, t0) = candidate();
    election.answered(t0, t0, Answer::Written(stored(Some("me"), "1", wall())));
    assert_eq!(election.authority(t0), Authority::Leading);
    (election, t0)
}

#[test]
fn timing_must_leave_room() {
    let new = |d: u64, r: u64, p: u64| {
        Timing::new(Duration::from_millis(d), Duration::from_millis(r), Duration::from_millis(p))
    };
    assert!(new(15_000, 10_000, 2_000).is_ok());
    assert!(matches!(new(15_500, 10_000, 2_000), Err(TimingError::Duration(_))));
    assert!(matches!(new(0, 10_000, 2_000), Err(TimingError::Duration(_))));
    assert!(matches!(new(10_000, 10_000, 2_000), Err(TimingError::Deadline { .. })));
    assert!(matches!(new(15_000, 10_000, 5_001), Err(TimingError::Retry { .. })));
    assert!(matches!(new(15_000, 10_000, 0), Err(TimingError::Retry { .. })));
    let message = new(10_000, 11_000, 2_000).unwrap_err().to_string();
    assert_eq!(message, "--lease-renew-deadline must be below --lease-duration (10s), got 11s");
}

#[test]
fn an_absent_lease_is_created() {
    let (mut election, t0) = candidate();
    assert_eq!(election.next(t0, wall()), Step::Call(Call::Read));
    election.answered(t0, t0, Answer::Absent);
    let Step::Call(Call::Create(record)) = election.next(t0, wall()) else { panic!("create") };
    assert_eq!((record.holder.as_deref(), record.transitions), (Some("me"), 0));
    election.answered(t0, t0, Answer::Conflict);
    assert_eq!(election.authority(t0), Authority::Standby);
    assert_eq!(election.next(t0, wall()), Step::Call(Call::Read), "somebody else was faster");
}

#[test]
fn a_free_lease_is_taken_at_once() {
    let (mut election, t0) = candidate();
    election.answered(t0, t0, Answer::Read(stored(None, "7", wall())));
    let Step::Call(Call::Replace { record, version }) = election.next(t0, wall()) else { panic!("replace") };
    assert_eq!((record.holder.as_deref(), record.transitions, version.as_str()), (Some("me"), 4, "7"));
}

#[test]
fn expiry_goes_by_what_was_seen_and_not_by_what_the_record_says() {
    for skew in [-3600, 0, 3600] {
        let (mut election, t0) = candidate();
        let theirs = stored(Some("other"), "7", wall() + jiff::SignedDuration::from_secs(skew));
        election.answered(t0, t0, Answer::Read(theirs.clone()));
        for second in (2..15).step_by(2) {
            let now = t0 + second * SECOND;
            assert_eq!(election.next(now, wall()), Step::Call(Call::Read), "skew {skew}, second {second}");
            election.answered(now, now, Answer::Read(theirs.clone()));
        }
        let now = t0 + 15 * SECOND;
        assert_eq!(election.next(now - SECOND / 2, wall()), Step::Wait(now), "skew {skew}");
        let step = election.next(now, wall());
        assert!(matches!(step, Step::Call(Call::Replace { .. })), "skew {skew}: {step:?}");
    }
}

#[test]
fn a_renewal_seen_starts_the_wait_anew() {
    let (mut election, t0) = candidate();
    election.answered(t0, t0, Answer::Read(stored(Some("other"), "7", wall())));
    let now = t0 + 14 * SECOND;
    election.answered(now, now, Answer::Read(stored(Some("other"), "8", wall())));
    assert_eq!(election.next(t0 + 28 * SECOND, wall()), Step::Call(Call::Read));
    assert!(matches!(election.next(t0 + 29 * SECOND, wall()), Step::Call(Call::Replace { .. })));
}

#[test]
fn leadership_counts_from_sending() {
    let (mut election, t0) = candidate();
    let back = t0 + 3 * SECOND;
    election.answered(t0, back, Answer::Written(stored(Some("me"), "1", wall())));
    assert_eq!(election.valid_until(), Some(t0 + 10 * SECOND));
    let Step::Wait(rest) = election.next(back, wall()) else { panic!("rest") };
    assert_eq!(rest, back + SECOND / 4, "it is late already");
}

#[test]
fn a_dead_api_server_makes_a_leader_uncertain_until_it_answers() {
    let (mut election, t0) = leading();
    for second in [2, 4, 6, 8] {
        election.answered(t0 + second * SECOND, t0 + second * SECOND, Answer::Failed);
    }
    assert_eq!(election.authority(t0 + 10 * SECOND - SECOND / 10), Authority::Leading);
    let now = t0 + 70 * SECOND;
    assert_eq!(election.authority(now), Authority::Uncertain);

    // It is still ours: renewed.
    assert_eq!(election.next(now, wall()), Step::Call(Call::Read), "a write may have happened unanswered");
    election.answered(now, now, Answer::Read(stored(Some("me"), "2", wall())));
    assert_eq!(election.authority(now), Authority::Uncertain, "reading is not renewing");
    let Step::Call(Call::Replace { version, .. }) = election.next(now, wall()) else { panic!("replace") };
    assert_eq!(version, "2");
    election.answered(now, now, Answer::Written(stored(Some("me"), "3", wall())));
    assert_eq!(election.authority(now), Authority::Leading);
}

#[test]
fn a_leader_whose_lease_was_taken_stands_by() {
    let (mut election, t0) = leading();
    election.answered(t0 + 2 * SECOND, t0 + 2 * SECOND, Answer::Failed);
    let now = t0 + 30 * SECOND;
    assert_eq!(election.authority(now), Authority::Uncertain);
    election.answered(now, now, Answer::Read(stored(Some("other"), "9", wall())));
    assert_eq!(election.authority(now), Authority::Standby);
    assert_eq!(election.valid_until(), None);
}

#[test]
fn a_conflict_is_followed_by_reading_at_once_and_not_twice_at_once() {
    let (mut election, t0) = leading();
    let now = t0 + 2 * SECOND;
    election.answered(now, now, Answer::Conflict);
    assert_eq!(election.next(now, wall()), Step::Call(Call::Read));
    election.answered(now, now, Answer::Conflict);
    assert!(matches!(election.next(now, wall()), Step::Wait(_)));
}

#[test]
fn a_paused_leader_wakes_as_a_standby() {
    let (mut election, t0) = leading();
    let now = t0 + 20 * SECOND;
    assert_eq!(election.authority(now), Authority::Standby, "no try has failed: it slept");
    let Step::Call(Call::Replace { version, .. }) = election.next(now, wall()) else { panic!("replace") };
    assert_eq!(version, "1", "the version it knew, which is refused if anybody wrote since");
    election.answered(now, now, Answer::Conflict);
    election.answered(now, now, Answer::Read(stored(Some("other"), "5", wall())));
    assert_eq!(election.authority(now), Authority::Standby);
}

#[test]
fn after_an_outage_the_holder_may_show_itself_first() {
    let (mut election, t0) = candidate();
    election.answered(t0, t0, Answer::Read(stored(Some("other"), "7", wall())));
    election.answered(t0 + 2 * SECOND, t0 + 2 * SECOND, Answer::Failed);
    let back = t0 + 60 * SECOND;
    election.answered(back, back, Answer::Read(stored(Some("other"), "7", wall())));
    assert_eq!(election.next(back + 3 * SECOND, wall()), Step::Call(Call::Read));
    let step = election.next(back + 4 * SECOND, wall());
    assert!(matches!(step, Step::Call(Call::Replace { .. })), "{step:?}");
}

#[test]
fn a_hint_makes_a_standby_look_and_leaves_a_leader_alone() {
    let (mut election, t0) = candidate();
    election.answered(t0, t0, Answer::Read(stored(Some("other"), "7", wall())));
    assert!(matches!(election.next(t0, wall()), Step::Wait(_)));
    election.hint();
    assert_eq!(election.next(t0, wall()), Step::Call(Call::Read));
    let (mut election, t0) = leading();
    election.hint();
    assert!(matches!(election.next(t0, wall()), Step::Wait(_)));
}

#[test]
fn resigning_gives_the_lease_back() {
    let (mut election, t0) = leading();
    election.resign();
    assert_eq!(election.authority(t0), Authority::Standby);
    let Step::Call(Call::Replace { record, version }) = election.next(t0, wall()) else { panic!("replace") };
    assert_eq!((record.holder, record.duration, version.as_str()), (None, SECOND, "1"));
    election.answered(t0, t0, Answer::Written(stored(None, "2", wall())));
    assert_eq!(election.authority(t0), Authority::Standby);
    assert_eq!(election.next(t0, wall()), Step::Done, "at once, so that the process can end");
}

#[test]
fn a_standby_resigns_without_a_word() {
    let (mut election, t0) = candidate();
    election.answered(t0, t0, Answer::Read(stored(Some("other"), "7", wall())));
    election.resign();
    assert_eq!(election.next(t0, wall()), Step::Done);
}

#[test]
fn one_failure_among_successes_changes_nothing() {
    let (mut election, t0) = leading();
    let mut version = 1;
    for second in (2..120).step_by(2) {
        let now = t0 + second * SECOND;
        if second % 4 == 0 {
            election.answered(now, now, Answer::Failed);
        } else {
            version += 1;
            election.answered(now, now, Answer::Written(stored(Some("me"), &version.to_string(), wall())));
        }
        assert_eq!(election.authority(now), Authority::Leading);
    }
}

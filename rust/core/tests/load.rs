//! The load generator's requests and its check of replies: each request is counted once, with what
//! really happened to it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use pointgate_core::mqtt::{BurstLimits, HEADER_BYTES, Load, Plan, Protocol, Splitter, Template};
use pointgate_core::{Arrived, Burst};
use proptest::prelude::*;

const TOPIC: &str = "sys/pk/integration/measurepoint/post";
const MARK: u32 = 0xABCD_0123;
const FIRST_MS: u64 = 1_700_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn template(kind: &str, code: u16) -> Template {
    let payload = format!(r#"{{"id":"0000000000000000","{kind}":[0000000000000,0000000000000]}}"#);
    let first = payload.find('[').unwrap() + 1;
    let times_at = vec![first, first + 14];
    Template { topic: TOPIC.to_owned(), payload: payload.into_bytes(), id_at: 7, times_at, code }
}

fn plan(acknowledged: bool, bad_share: f64) -> Plan {
    Plan {
        good: vec![template("good", 200), template("well", 200)],
        bad: vec![template("bad", 1204)],
        bad_share,
        acknowledged,
        mark: MARK,
        first_ms: FIRST_MS,
        span_ms: 5,
        timeout_ns: SECOND,
    }
}

fn load(acknowledged: bool, bad_share: f64) -> Load {
    Load::new(plan(acknowledged, bad_share), 2).unwrap()
}

/// The requests in some packets.
fn requests(packets: &[u8]) -> Burst {
    let limits = BurstLimits { requests: usize::MAX, bytes: usize::MAX };
    let mut splitter = Splitter::new(Protocol::V3, HEADER_BYTES, limits);
    splitter.feed(packets, 0.0).unwrap();
    splitter.take().unwrap_or_default()
}

fn published(load: &mut Load, count: usize) -> Vec<String> {
    let mut packets = Vec::new();
    assert_eq!(load.publish(0, count, (0, 0.0), &mut packets), count);
    requests(&packets).iter().map(|one| String::from_utf8(one.payload.to_vec()).unwrap()).collect()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(body.len()).unwrap()], body].concat()
}

fn reply(payload: &str) -> Vec<u8> {
    packet(0x30, &[b"\x00\x01r", payload.as_bytes()].concat())
}

fn answer(number: u32, code: u16) -> Vec<u8> {
    reply(&format!(r#"{{"id":"{MARK:08x}{number:08x}","code":{code},"data":{{}}}}"#))
}

fn feed(load: &mut Load, data: &[u8], now_ns: u64) -> Vec<u8> {
    let mut acknowledgements = Vec::new();
    load.feed(0, data, now_ns, &mut acknowledgements).unwrap();
    acknowledgements
}

#[test]
fn each_request_has_its_own_id_and_times_of_its_own_within_the_span() {
    let mut load = load(false, 0.0);
    assert_eq!(
        published(&mut load, 3),
        [
            r#"{"id":"abcd012300000000","good":[1700000000000,1700000000001]}"#,
            r#"{"id":"abcd012300000001","well":[1700000000002,1700000000003]}"#,
            r#"{"id":"abcd012300000002","good":[1700000000004,1700000000000]}"#,
        ]
    );
}

#[test]
fn bad_requests_are_spread_evenly() {
    let mut load = load(false, 0.25);
    let bad: Vec<_> = published(&mut load, 12).iter().map(|one| one.contains("bad")).collect();
    let every_fourth: Vec<_> = (1..=12).map(|number| number % 4 == 0).collect();
    assert_eq!(bad, every_fourth);
}

#[test]
fn requests_at_qos_1_wait_for_packet_ids() {
    let mut load = load(true, 0.0);
    let mut packets = Vec::new();
    assert_eq!(load.publish(0, 40_000, (0, 0.0), &mut packets), 0x8000);
    let ids: Vec<_> = requests(&packets).iter().map(|one: Arrived<'_>| one.delivery.packet_id).collect();
    assert_eq!((ids[0], ids[1], ids[0x7FFF]), (0x8000, 0x8001, 0xFFFF));
    assert_eq!(load.publish(1, 1, (0, 0.0), &mut packets), 1, "each connection has ids of its own");
    feed(&mut load, b"\x40\x02\x80\x00\x40\x02\x80\x01", 0);
    assert_eq!(load.publish(0, 3, (0, 0.0), &mut packets), 2);
}

#[test]
fn replies_are_counted_by_expected_and_actual_code() {
    let mut load = load(false, 0.5);
    published(&mut load, 4);
    feed(&mut load, &[answer(0, 200), answer(3, 200), answer(1, 1204), answer(2, 1257)].concat(), 7);
    let codes: Vec<_> = load.tally().codes.clone().into_iter().collect();
    assert_eq!(codes, [((200, 200), 1), ((200, 1257), 1), ((1204, 200), 1), ((1204, 1204), 1)]);
    assert_eq!(load.outstanding(), 0);
}

#[test]
fn a_reply_without_a_code_is_code_0() {
    let mut load = load(false, 0.0);
    published(&mut load, 1);
    feed(&mut load, &reply(&format!(r#"{{"id":"{MARK:08x}00000000"}}"#)), 7);
    assert_eq!(load.tally().codes.keys().copied().collect::<Vec<_>>(), [(200, 0)]);
}

#[test]
fn replies_to_others_and_repeated_replies_answer_nothing() {
    let mut load = load(false, 0.0);
    published(&mut load, 2);
    let others = [
        reply(r#"{"id":"1","code":200}"#),
        reply(r#"{"id":"abcd012400000000","code":200}"#),
        reply(r#"{"id":"abcd0123000000zz","code":200}"#),
        answer(2, 200), // not sent yet
        reply(""),
    ];
    feed(&mut load, &[others.concat(), answer(1, 200), answer(1, 200)].concat(), 0);
    assert_eq!((load.tally().foreign, load.tally().repeated, load.outstanding()), (5, 1, 1));
}

#[test]
fn a_request_without_a_reply_in_time_is_lost_once_and_its_late_reply_does_not_count() {
    let mut load = load(false, 0.0);
    let mut packets = Vec::new();
    load.publish(0, 3, (0, 1e9), &mut packets); // due after 0, 1 and 2 s
    feed(&mut load, &answer(1, 200), SECOND);
    load.expire(SECOND);
    assert_eq!(load.tally().lost, 0);
    load.expire(SECOND + 1);
    load.expire(SECOND + 2);
    assert_eq!((load.tally().lost, load.outstanding()), (1, 1));
    feed(&mut load, &answer(0, 200), 2 * SECOND);
    assert_eq!((load.tally().repeated, load.tally().codes.values().sum::<u64>()), (1, 1));
    load.expire(u64::MAX);
    assert_eq!((load.tally().lost, load.outstanding()), (2, 0));
}

#[test]
fn latencies_count_from_the_instant_at_which_a_request_was_due() {
    let mut load = load(false, 0.0);
    let mut packets = Vec::new();
    load.publish(0, 2, (SECOND, 1e6), &mut packets); // written together, due a millisecond apart
    feed(&mut load, &[answer(0, 200), answer(1, 200)].concat(), SECOND + 3_000_000);
    let latencies = &load.tally().latencies;
    assert_eq!(latencies.most_ns(), 3_000_000);
    let median = latencies.quantile_ns(0.5);
    assert!((2_000_000..=2_016_000).contains(&median), "{median}");
}

#[test]
fn replies_at_qos_1_are_acknowledged() {
    let mut load = load(true, 0.0);
    let body = [b"\x00\x01r\x00\x07".as_slice(), br#"{"id":"1","code":200}"#].concat();
    assert_eq!(feed(&mut load, &packet(0x32, &body), 0), b"\x40\x02\x00\x07");
}

#[test]
fn a_plan_without_a_request_of_a_kind_or_with_places_outside_of_a_payload_is_refused() {
    assert!(Load::new(Plan { good: Vec::new(), ..plan(false, 0.0) }, 1).is_none());
    assert!(Load::new(Plan { bad: Vec::new(), ..plan(false, 0.1) }, 1).is_none());
    assert!(Load::new(Plan { bad: Vec::new(), ..plan(false, 0.0) }, 1).is_some());
    for place in [60, usize::MAX] {
        let good = vec![Template { id_at: place, ..template("good", 200) }];
        assert!(Load::new(Plan { good, ..plan(false, 0.0) }, 1).is_none());
        let good = vec![Template { times_at: vec![place], ..template("good", 200) }];
        assert!(Load::new(Plan { good, ..plan(false, 0.0) }, 1).is_none());
    }
}

proptest! {
    /// Against the sorted list: a quantile is not below, and at most a 128th or a microsecond above.
    #[test]
    fn quantiles_are_those_of_the_sorted_latencies(
        mut due in prop::collection::vec(0..10_000_000_000_u64, 1..200), share in 0.01..1.0_f64,
    ) {
        let mut load = load(false, 0.0);
        let now = 10_000_000_000;
        for (number, &due) in (0..).zip(&due) {
            load.publish(0, 1, (due, 0.0), &mut Vec::new());
            feed(&mut load, &answer(number, 200), now);
        }
        due.sort_unstable_by(|one, other| other.cmp(one));
        let place = (due.len() as f64 * share).ceil() as usize;
        let exact = now - due[place - 1];
        let found = load.tally().latencies.quantile_ns(share);
        prop_assert!(found >= exact, "{found} {exact}");
        prop_assert!(found <= exact + exact / 128 + 1000, "{found} {exact}");
    }

    /// Whatever a broker sends, no request is counted twice.
    #[test]
    fn every_request_is_answered_lost_or_outstanding(
        replies in prop::collection::vec((0..20_u32, 100..300_u16, 0..3_000_000_000_u64), 0..60),
    ) {
        let mut load = load(false, 0.3);
        published(&mut load, 10);
        for (number, code, now_ns) in replies {
            feed(&mut load, &answer(number, code), now_ns);
            load.expire(now_ns);
            let tally = load.tally();
            let answered = tally.codes.values().sum::<u64>();
            prop_assert_eq!(answered + tally.lost + load.outstanding() as u64, tally.sent);
        }
    }
}

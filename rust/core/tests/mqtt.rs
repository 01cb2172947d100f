//! MQTT's frequent packets and bursts of requests: the same wherever the bytes are cut, whatever
//! the judge does with a request.
//!
//! `tests/sources/mqtt/test_packets.py` compares the same code with a splitter in plain Python and
//! with a client library.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use pointgate_core::mqtt::{
    BurstLimits, FeedError, HEADER_BYTES, NO_TOPIC, Protocol, REPLY_IDS, Replies, Splitter,
};
use pointgate_core::{
    Arrived, Burst, Catalog, Delivery, Detail, Limits, Points, Request, Scratch, Verdict, collect, render,
};
use proptest::prelude::*;

mod support;

const LIMITS: BurstLimits = BurstLimits { requests: 5, bytes: 2_000 };

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut size = body.len();
    while size >= 0x80 {
        packet.push(size as u8 | 0x80);
        size >>= 7;
    }
    packet.push(size as u8);
    packet.extend_from_slice(body);
    packet
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text].concat()
}

fn publish(first: u8, topic: &[u8], packet_id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let packet_id = if first & 6 == 0 { Vec::new() } else { packet_id.to_be_bytes().to_vec() };
    packet(first, &[&string(topic), &packet_id, properties, payload].concat())
}

/// What a splitter has found: requests, other packets, acknowledgements.
type Found = (Vec<String>, Vec<u8>, usize, Vec<u16>);

fn split(stream: &[u8], cuts: &[usize], protocol: Protocol, frame_limit: usize) -> Result<Found, FeedError> {
    let mut splitter = Splitter::new(protocol, frame_limit, LIMITS);
    let mut start = 0;
    for &end in cuts.iter().chain([&stream.len()]) {
        splitter.feed(&stream[start..end], 0.0)?;
        start = end;
    }
    let mut requests = Vec::new();
    while let Some(burst) = splitter.take() {
        assert!(!burst.is_empty());
        assert!(burst.len() <= LIMITS.requests);
        assert!(burst.len() == 1 || burst.size() <= LIMITS.bytes);
        requests.extend(burst.iter().map(|request| format!("{request:?}")));
    }
    assert_eq!(splitter.requests, requests.len());
    Ok((requests, splitter.control, splitter.acknowledged.len(), splitter.released))
}

fn packets() -> impl Strategy<Value = Vec<u8>> {
    let properties = prop_oneof![
        Just(b"\0".to_vec()),
        Just(b"\x06\x09\0\x03abc".to_vec()),
        Just(
            packet(0, &[&b"\x01\x01\x26"[..], &string(b"pointgate-received"), &string(b"17")].concat())[1..]
                .to_vec()
        ),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    let request = (
        prop::sample::select(vec![0x30, 0x31, 0x32, 0x3A, 0x34, 0x36]),
        prop::collection::vec(any::<u8>(), 0..20),
        any::<u16>(),
        properties,
        prop::collection::vec(any::<u8>(), 0..600),
    );
    prop_oneof![
        6 => request.prop_map(|(first, topic, id, properties, payload)| publish(first, &topic, id, &properties, &payload)),
        1 => Just(packet(0x40, b"\x80\x01")),
        1 => Just(packet(0x40, b"\x80\x02\x87\x00")),
        1 => Just(packet(0x62, b"\0\x09")),
        1 => Just(packet(0xD0, b"")),
        1 => Just(packet(0x90, b"\0\x01\0\x01\x01")),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #[test]
    fn the_output_does_not_depend_on_where_the_input_is_cut(
        packets in prop::collection::vec(packets(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        five in any::<bool>(),
        frame_limit in 40_usize..700,
    ) {
        let stream = packets.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let protocol = if five { Protocol::V5 } else { Protocol::V3 };
        let whole = split(&stream, &[], protocol, frame_limit);
        let cut = split(&stream, &cuts, protocol, frame_limit);
        prop_assert_eq!(whole.is_ok(), cut.is_ok());
        if whole.is_ok() {
            prop_assert_eq!(whole, cut);
        }
    }
}

#[test]
fn the_rest_of_a_request_over_the_limit_is_dropped_as_it_arrives() {
    let large = publish(0x32, b"t", 7, b"", &vec![b'x'; 3_000_000]);
    let small = publish(0x30, b"t", 0, b"", b"{}");
    let stream = [&small[..], &large, &small].concat();
    for step in [1_000, 65_536, stream.len()] {
        let mut splitter = Splitter::new(Protocol::V3, 200_000, LIMITS);
        stream.chunks(step).for_each(|data| splitter.feed(data, 0.0).unwrap());
        let bursts: Vec<Burst> = std::iter::from_fn(|| splitter.take()).collect();
        let sizes: Vec<_> = bursts.iter().flat_map(Burst::iter).map(|one| one.payload.len()).collect();
        assert_eq!(sizes, [2, 200_000 - (1 + 4 + 3 + 2), 2], "{step}");
    }
}

#[test]
fn properties_over_the_limit_are_a_request_that_is_only_acknowledged() {
    let user = [&b"\x26"[..], &string(&b"k".repeat(60_000)), &string(&b"v".repeat(60_000))].concat();
    let properties = packet(0, &user.repeat(10))[1..].to_vec();
    let stream = publish(0x32, b"t", 7, &properties, b"{}");
    let mut splitter = Splitter::new(Protocol::V5, HEADER_BYTES, LIMITS);
    splitter.feed(&stream, 0.0).unwrap();
    let burst = splitter.take().unwrap();
    let delivery = Delivery { qos: 1, packet_id: 7, correlation: None };
    let expected = Arrived { topic: NO_TOPIC, delivery, ..Arrived::default() };
    assert_eq!(burst.get(0), Some(expected));
}

fn request(payload: &[u8], packet_id: u16) -> Arrived<'_> {
    let delivery = Delivery { qos: u8::from(packet_id > 0), packet_id, correlation: None };
    Arrived { topic: "sys/pk/integration/measurepoint/post", payload, delivery, ..Arrived::default() }
}

fn payload(points: usize) -> Vec<u8> {
    let entries = vec![r#"{"deviceKey":"device1","measurepoints":{"t":1}}"#; points].join(",");
    format!(r#"{{"version":"1","method":"integration.measurepoint.post","params":[{entries}]}}"#).into_bytes()
}

struct Judge {
    catalog: Catalog,
    points: Points,
}

impl Judge {
    fn new() -> Self {
        let catalog = support::one_product(
            r#"{"measurepoints":{"t":{"dataType":"INT"}}}"#,
            pointgate_core::ProductSettings::default(),
        );
        Self { catalog, points: Points::default() }
    }

    fn judge(&mut self, request: &Request<'_>, reply: &mut Vec<u8>) -> Verdict {
        let scratch = &mut Scratch::default();
        let verdict = collect(&self.catalog, &Limits::default(), request, scratch, &mut self.points);
        render(&verdict, request.payload, Detail::Full, reply);
        verdict
    }
}

#[test]
fn a_judge_that_panics_leaves_every_other_request_its_verdict_and_reply() {
    let mut judge = Judge::new();
    let mut burst = Burst::default();
    for payload in [payload(1), payload(2), b"{".to_vec()] {
        burst.push(&request(&payload, 1)).unwrap();
    }
    for place in 0..3 {
        burst.judge(place, |request, reply| judge.judge(request, reply));
    }
    let replies: Vec<_> = (0..3).map(|place| burst.reply(place).unwrap().to_vec()).collect();
    let panicking = |burst: &mut Burst| {
        burst.judge(1, |_, reply| {
            reply.extend_from_slice(b"half a reply");
            std::panic::resume_unwind(Box::new(()));
        });
    };
    assert!(catch_unwind(AssertUnwindSafe(|| panicking(&mut burst))).is_err());
    assert!(burst.verdict(1).is_none() && burst.reply(1).is_none());
    assert_eq!(burst.counts().collect::<Vec<_>>(), [1]);
    for place in [0, 2] {
        assert!(burst.verdict(place).is_some());
        assert_eq!(burst.reply(place), Some(&replies[place][..]));
    }
    burst.judge(1, |request, reply| judge.judge(request, reply));
    assert_eq!(burst.reply(1), Some(&replies[1][..]));
}

#[test]
fn what_the_store_rejects_is_counted_among_the_requests_with_points() {
    let mut judge = Judge::new();
    let mut burst = Burst::default();
    for (payload, retained) in [
        (payload(0), false),
        (payload(1), true),
        (payload(2), false),
        (b"{".to_vec(), false),
        (payload(3), false),
    ] {
        burst.push(&Arrived { retained, ..request(&payload, 0) }).unwrap();
    }
    for place in 0..burst.len() {
        burst.judge(place, |request, reply| judge.judge(request, reply));
    }
    assert_eq!(burst.counts().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(judge.points.len(), 5);
    burst.withdraw(&[1]);
    let replies: Vec<_> = (0..burst.len()).map(|place| burst.reply(place).is_some()).collect();
    assert_eq!(replies, [true, false, true, true, false]);
    let withdrawn: Vec<_> = (0..burst.len()).filter(|&place| burst.is_withdrawn(place)).collect();
    assert_eq!(withdrawn, [4]);
    assert_eq!(burst.counts().collect::<Vec<_>>(), [2]);
}

#[test]
fn instants_are_those_of_the_requests_that_are_judged() {
    let mut burst = Burst::default();
    for (retained, observed_us) in
        [(false, None), (true, Some(5)), (false, Some(101)), (false, Some(103)), (false, Some(5))]
    {
        burst.push(&Arrived { retained, observed_us, ..request(b"", 0) }).unwrap();
    }
    burst.stamp(100, 0);
    let arrived: Vec<_> = (0..burst.len()).map(|place| burst.arrived_us(place)).collect();
    assert_eq!(arrived, [100, 101, 101, 102, 103]);
    let mut seen = Vec::new();
    for place in 0..burst.len() {
        let mut judge = Judge::new();
        burst.judge(place, |request, reply| {
            seen.push((request.arrived_us, request.observed_us));
            judge.judge(request, reply)
        });
    }
    assert_eq!(seen, [(100, None), (101, Some(101)), (102, None), (103, Some(5))]);
    assert_eq!(burst.instant_us(3), 102);
    assert_eq!(burst.instant_us(4), 5);
}

#[test]
fn packet_ids_are_used_again_only_when_every_other_is_taken() {
    let count = REPLY_IDS.len();
    let mut replies = Replies::new(Protocol::V3, None, usize::MAX);
    let mut burst = Burst::default();
    for _ in 0..count + 2 {
        burst.push(&request(b"", 1)).unwrap();
        burst.answer(burst.len() - 1, Some(b""));
    }
    let mut packets = Vec::new();
    let written = replies.write(&burst, 0, &mut packets);
    let topic = burst.get(0).unwrap().topic.len() + "_reply".len();
    let (reply, unit) = (2 + 2 + topic + 2, 2 + 2 + topic + 2 + 4);
    assert_eq!((written.end, packets.len()), (count + 2, unit * (count + 2)));
    let id = |place: usize| {
        let at = unit * place + reply;
        u16::from_be_bytes([packets[at - 2], packets[at - 1]])
    };
    assert_eq!([id(0), id(count - 1), id(count), id(count + 1)], [0x8000, 0xFFFF, 0x8000, 0x8001]);
    assert_eq!(replies.unacknowledged(), count + 2);
    assert!(replies.acknowledge(0x8000) && replies.acknowledge(0x8000) && !replies.acknowledge(0x8000));
    assert!(!replies.acknowledge(1));
    packets.clear();
    replies.write(&burst, count + 1, &mut packets);
    assert_eq!(u16::from_be_bytes([packets[reply - 2], packets[reply - 1]]), 0x8000);
}

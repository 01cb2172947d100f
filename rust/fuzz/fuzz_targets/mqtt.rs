//! Any bytes as what a broker sends: the same requests and packets wherever they are cut, bursts
//! within their limits, and replies that are read as they were written.
//!
//! The first byte of an input selects protocol and limits, the second one the length of a piece.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pointgate_core::Burst;
use pointgate_core::mqtt::{BurstLimits, FeedError, HEADER_BYTES, Protocol, Replies, Splitter};
use pointgate_fuzz::linear;

const LIMITS: BurstLimits = BurstLimits { requests: 3, bytes: 2_000 };
const REPLY: &[u8] = b"{\"code\":200}";

#[derive(Debug)]
struct Found {
    bursts: Vec<Burst>,
    control: Vec<u8>,
    acknowledged: usize,
    released: Vec<u16>,
}

impl Found {
    fn requests(&self) -> Vec<String> {
        self.bursts.iter().flat_map(Burst::iter).map(|request| format!("{request:?}")).collect()
    }
}

fn split<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    protocol: Protocol,
    frame_limit: usize,
) -> Result<Found, FeedError> {
    let mut splitter = Splitter::new(protocol, frame_limit, LIMITS);
    for piece in pieces {
        splitter.feed(piece, 0.0)?;
    }
    let bursts: Vec<Burst> = std::iter::from_fn(|| splitter.take()).collect();
    assert_eq!(splitter.requests, bursts.iter().map(Burst::len).sum::<usize>(), "requests");
    assert_eq!(splitter.bytes, bursts.iter().map(Burst::size).sum::<usize>(), "bytes");
    let acknowledged = splitter.acknowledged.len();
    Ok(Found { bursts, control: splitter.control, acknowledged, released: splitter.released })
}

fuzz_target!(|data: &[u8]| {
    let Some((&[selector, step], stream)) = data.split_first_chunk() else { return };
    let protocol = if selector & 1 == 0 { Protocol::V3 } else { Protocol::V5 };
    let frame_limit = [HEADER_BYTES, 64, 1024, 20_000][usize::from(selector >> 1 & 3)];
    let step = usize::from(step).max(1);

    let whole = linear(stream.len(), || split([stream].into_iter(), protocol, frame_limit));
    let pieces = linear(stream.len(), || split(stream.chunks(step), protocol, frame_limit));
    let (Ok(whole), Ok(pieces)) = (&whole, &pieces) else {
        assert_eq!(whole.is_ok(), pieces.is_ok(), "acceptance");
        return;
    };
    assert_eq!(whole.requests(), pieces.requests(), "requests");
    assert_eq!(whole.control, pieces.control, "control");
    assert_eq!(whole.acknowledged, pieces.acknowledged, "acknowledged");
    assert_eq!(whole.released, pieces.released, "released");
    for burst in &whole.bursts {
        assert!(!burst.is_empty() && burst.len() <= LIMITS.requests, "{} requests", burst.len());
        assert!(burst.len() == 1 || burst.size() <= LIMITS.bytes, "{} bytes", burst.size());
    }
    for burst in pieces.bursts.iter().take(8) {
        check_replies(burst, protocol);
    }
});

/// Answers a burst, and reads the replies as a broker would.
fn check_replies(burst: &Burst, protocol: Protocol) {
    let mut answered = Burst::default();
    for request in burst.iter().filter(|request| request.topic.len() < 65_000) {
        answered.push(&request).expect("memory for a request");
        answered.answer(answered.len() - 1, Some(REPLY));
    }
    let mut packets = Vec::new();
    let mut replies = Replies::new(protocol, None, usize::MAX);
    let written = replies.write(&answered, 0, &mut packets);
    assert_eq!((written.end, written.ends.len()), (answered.len(), answered.len()), "settled");
    let read = split([&packets[..]].into_iter(), protocol, HEADER_BYTES * 2).expect("what was written");
    let read: Vec<_> = read.bursts.iter().flat_map(Burst::iter).collect();
    assert_eq!(read.len(), answered.len(), "replies");
    for (reply, request) in read.iter().zip(answered.iter()) {
        assert_eq!(reply.topic, format!("{}_reply", request.topic));
        assert_eq!(reply.payload, REPLY);
        assert_eq!(reply.delivery.qos, request.delivery.qos.min(1));
        let echoed = request.delivery.correlation.filter(|_| protocol == Protocol::V5);
        assert_eq!(reply.delivery.correlation, echoed);
    }
}

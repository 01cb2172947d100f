//! A native echo: it splits packets and answers each request with 200, unread.
//!
//!     rustc -O --edition 2024 -o target/echo-glue benches/glue/echo.rs
//!     target/echo-glue SETTINGS
//!
//! What the sockets and the frames cost alone, without asyncio, judging, limits or counters: the
//! floor of `bench_front_end.py`. It copies the `id` from where `bench_front_end.py` writes it, and
//! knows MQTT 5 only.

use std::io::{Read, Write};
use std::net::TcpStream;

const TOPIC: &[u8] = b"sys/protocol/integration/measurepoint/post";
const ID: std::ops::Range<usize> = 7..15; // {"id":"00000000"
const FIRST_ID: u16 = 0x8000;

fn text(out: &mut Vec<u8>, value: &[u8]) {
    out.extend(u16::to_be_bytes(value.len() as u16));
    out.extend(value);
}

/// A packet, whose body has at most 16,383 bytes.
fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    if body.len() < 128 {
        out.push(body.len() as u8);
    } else {
        out.extend([body.len() as u8 | 0x80, (body.len() >> 7) as u8]);
    }
    out.extend(body);
}

/// The first byte, the body and the end of the packet at the start of some bytes.
fn split(data: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (mut size, mut shift, mut at) = (0, 0, 1);
    loop {
        let byte = *data.get(at)?;
        size |= usize::from(byte & 0x7F) << shift;
        (shift, at) = (shift + 7, at + 1);
        if byte < 0x80 {
            return Some((data[0], data.get(at..at + size)?, at + size));
        }
    }
}

fn answer(out: &mut Vec<u8>, reply: &mut Vec<u8>, reply_id: &mut u16, first: u8, body: &[u8]) {
    let qos = first >> 1 & 1;
    let behind = 2 + TOPIC.len();
    let payload = behind + 2 * usize::from(qos) + 1;
    reply.clear();
    text(reply, b"sys/protocol/integration/measurepoint/post_reply");
    if qos == 1 {
        reply.extend(reply_id.to_be_bytes());
        *reply_id = reply_id.checked_add(1).unwrap_or(FIRST_ID);
    }
    reply.push(0);
    reply.extend(b"{\"id\":\"");
    reply.extend(&body[payload..][ID]);
    reply.extend(b"\",\"code\":200,\"data\":{}}");
    packet(out, 0x30 | qos << 1, reply);
    if qos == 1 {
        packet(out, 0x40, &body[behind..behind + 2]);
    }
}

fn main() -> std::io::Result<()> {
    let file = std::env::args().nth(1).expect("a settings file");
    let settings = std::fs::read_to_string(file)?;
    let (_, rest) = settings.split_once("mqtt://").expect("mqtt.url");
    let (address, _) = rest.split_once('"').expect("the end of mqtt.url");
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut out = Vec::new();
    // Clean start, keep alive 120 s, a Receive Maximum of 1,000.
    packet(&mut out, 0x10, b"\0\x04MQTT\x05\x02\0\x78\x03\x21\x03\xE8\0\x04echo");
    let mut subscribe = vec![0, 1, 0];
    text(&mut subscribe, TOPIC);
    subscribe.push(1);
    stream.write_all(&out)?;
    out.clear();
    let (mut buffer, mut held) = (vec![0; 1 << 18], 0);
    let (mut reply, mut reply_id) = (Vec::new(), FIRST_ID);
    loop {
        let read = stream.read(&mut buffer[held..])?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let mut start = 0;
        while let Some((first, body, size)) = split(&buffer[start..held]) {
            match first & 0xF0 {
                0x20 => packet(&mut out, 0x82, &subscribe),
                0x30 => answer(&mut out, &mut reply, &mut reply_id, first, body),
                _ => (),
            }
            start += size;
        }
        buffer.copy_within(start..held, 0);
        held -= start;
        stream.write_all(&out)?;
        out.clear();
    }
}

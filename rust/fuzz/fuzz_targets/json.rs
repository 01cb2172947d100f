//! Any bytes as a JSON document: accepted exactly if `serde_json` accepts it within the limits of
//! contract 4; numbers have exactly the value that the standard library and their digits give.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pointgate_core::json::{self, Number, SyntaxKind};
use pointgate_fuzz::{Decimal, Document, Shape, linear};

fuzz_target!(|data: &[u8]| {
    let ours = linear(data.len(), || json::check(data));
    let theirs = Document::parse(data);
    assert_eq!(ours.is_ok(), theirs.is_some(), "acceptance: we say {ours:?}");

    if let Err(syntax) = ours {
        let offset = syntax.offset();
        assert!(offset <= data.len(), "{syntax} beyond the end");
        assert!(syntax.kind() != SyntaxKind::UnexpectedEnd || offset == data.len(), "{syntax} is no end");
        // Everything before the reported byte is valid at its place.
        if let Err(before) = json::check(&data[..offset]) {
            assert_eq!(
                (before.kind(), before.offset()),
                (SyntaxKind::UnexpectedEnd, offset),
                "before: {syntax}"
            );
        }
    }
    if let Some(document) = &theirs {
        document.root.numbers(&mut |token| check_number(token, Number::parse(token).expect(token)));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let is_number = theirs.is_some_and(|document| {
            matches!(document.root.shape, Shape::Number) && document.root.raw.len() == text.len()
        });
        assert_eq!(Number::parse(text).is_some(), is_number, "number");
    }
});

fn check_number(token: &str, number: Number<'_>) {
    assert_eq!(number.token(), token);
    assert_eq!(number.to_f64().to_bits(), token.parse::<f64>().expect(token).to_bits(), "f64 {token}");
    assert_eq!(number.to_f32().to_bits(), token.parse::<f32>().expect(token).to_bits(), "f32 {token}");
    assert_eq!(number.to_integer(), Decimal::new(token).to_integer(), "integer {token}");
}

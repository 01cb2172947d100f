//! The cursor: a position in a document, and the structure of JSON around strings and numbers.

use super::{MAX_DEPTH, Syntax, SyntaxKind};

/// A position in one JSON document. A clone is a position to come back to.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    /// What has not been read yet: the end of `bytes`.
    rest: &'a [u8],
    depth: u32,
}

/// Eight bytes of a window as a little-endian word.
#[inline(always)]
pub(crate) fn word_at(window: &[u8; 32], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&window[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The JSON type that a value's first byte announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonType {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl JsonType {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
        }
    }
}

impl<'a> Cursor<'a> {
    /// The beginning of `payload`.
    ///
    /// UTF-8 needs no pass of its own: between strings only ASCII is valid, and strings with other
    /// bytes are checked when they are read.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { bytes: payload, rest: payload, depth: 0 }
    }

    /// The whole document.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The offset of the next byte.
    #[inline(always)]
    pub fn offset(&self) -> usize {
        self.bytes.len() - self.rest.len()
    }

    /// The next byte, or NUL at the end of the document: NUL is valid nowhere, so one test covers
    /// both.
    #[inline(always)]
    pub(crate) fn peek(&self) -> u8 {
        self.rest.first().copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(crate) fn peek_at(&self, ahead: usize) -> u8 {
        self.rest.get(ahead).copied().unwrap_or(0)
    }

    /// The next eight bytes as a little-endian word; `None` if there are fewer.
    #[inline(always)]
    pub(crate) fn word(&self) -> Option<u64> {
        self.rest.first_chunk().copied().map(u64::from_le_bytes)
    }

    #[inline(always)]
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    /// Moves back to an offset at the same depth.
    #[inline(always)]
    pub(crate) fn rewind_to(&mut self, offset: usize) {
        self.rest = &self.bytes[offset..];
    }

    #[inline(always)]
    pub(crate) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes from `start` to here.
    #[inline(always)]
    pub(crate) fn bytes_from(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.offset()]
    }

    /// A syntax error at the next byte; reports the end of the document or invalid UTF-8 instead if
    /// that is the cause.
    #[cold]
    pub(crate) fn fail(&self, kind: SyntaxKind) -> Syntax {
        Syntax::new(self.offset(), self.break_off().unwrap_or(kind))
    }

    /// The end of the document or invalid UTF-8, if the next byte is either.
    #[cold]
    pub(crate) fn break_off(&self) -> Option<SyntaxKind> {
        let character = self.rest.get(..4).unwrap_or(self.rest);
        match str::from_utf8(character) {
            _ if self.rest.is_empty() => Some(SyntaxKind::UnexpectedEnd),
            Err(error) if error.valid_up_to() == 0 => Some(SyntaxKind::InvalidUtf8),
            _ => None,
        }
    }

    /// The first byte from `start` to here that is not UTF-8, if any.
    #[cold]
    pub(crate) fn invalid_utf8(&self, start: usize) -> Option<Syntax> {
        let error = str::from_utf8(self.bytes_from(start)).err()?;
        Some(Syntax::new(start + error.valid_up_to(), SyntaxKind::InvalidUtf8))
    }

    /// Skips white space.
    #[inline(always)]
    pub(crate) fn skip_whitespace(&mut self) {
        // One comparison if there is none, the usual case.
        if self.peek() <= b' ' {
            self.skip_whitespace_run();
        }
    }

    fn skip_whitespace_run(&mut self) {
        const SPACES: u64 = 0x2020_2020_2020_2020;
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.advance(1);
            // Indentation consists of spaces: skips eight at a time.
            //     word             ····"a":   0x3A22_6122_2020_2020
            //     word ^ 0x20…                0x1A02_4102_0000_0000   33 trailing zeros: 4 spaces
            while self.peek() == b' '
                && let Some(word) = self.word()
            {
                let spaces = (word ^ SPACES).trailing_zeros() / 8;
                self.advance(spaces as usize);
                if spaces < 8 {
                    break;
                }
            }
        }
    }

    /// Skips white space before the document.
    pub(crate) fn begin(&mut self) -> Result<(), Syntax> {
        if self.bytes.starts_with("\u{feff}".as_bytes()) {
            return Err(self.fail(SyntaxKind::ByteOrderMark));
        }
        self.skip_whitespace();
        Ok(())
    }

    /// Checks that nothing but white space follows the document.
    pub(crate) fn finish(&mut self) -> Result<(), Syntax> {
        self.skip_whitespace();
        if self.at_end() { Ok(()) } else { Err(self.fail(SyntaxKind::TrailingBytes)) }
    }

    /// The type of the next value by its first byte; the value itself is not checked yet.
    #[inline(always)]
    pub(crate) fn json_type(&self) -> Result<JsonType, Syntax> {
        Ok(match self.peek() {
            b'{' => JsonType::Object,
            b'[' => JsonType::Array,
            b'"' => JsonType::String,
            b'-' | b'0'..=b'9' => JsonType::Number,
            b't' | b'f' => JsonType::Boolean,
            b'n' => JsonType::Null,
            _ => return Err(self.fail(SyntaxKind::ExpectedValue)),
        })
    }

    /// Enters the object or array that begins here.
    #[inline(always)]
    pub(crate) fn open(&mut self) -> Result<(), Syntax> {
        if self.depth == MAX_DEPTH {
            return Err(self.fail(SyntaxKind::TooDeep));
        }
        self.depth += 1;
        self.advance(1);
        self.skip_whitespace();
        Ok(())
    }

    /// Leaves the object or array whose closing bracket is the next byte.
    #[inline(always)]
    pub(crate) fn close(&mut self) {
        self.depth -= 1;
        self.advance(1);
    }

    /// Moves to the next member's name; false, with the object left, if there is none.
    ///
    /// `first` must be true for the first call in an object, and is cleared.
    #[inline(always)]
    pub(crate) fn next_member(&mut self, first: &mut bool) -> Result<bool, Syntax> {
        if !self.next_item(first, b'}', SyntaxKind::ExpectedCommaOrBrace)? {
            return Ok(false);
        }
        if self.peek() == b'"' {
            return Ok(true);
        }
        Err(self.fail(SyntaxKind::ExpectedName))
    }

    /// Moves to the next element; false, with the array left, if there is none.
    #[inline(always)]
    pub(crate) fn next_element(&mut self, first: &mut bool) -> Result<bool, Syntax> {
        self.next_item(first, b']', SyntaxKind::ExpectedCommaOrBracket)
    }

    #[inline(always)]
    fn next_item(&mut self, first: &mut bool, close: u8, kind: SyntaxKind) -> Result<bool, Syntax> {
        if !*first {
            self.skip_whitespace();
        }
        let next = self.peek();
        let was_first = std::mem::take(first);
        if next == close {
            self.close();
            return Ok(false);
        }
        if was_first {
            return Ok(true);
        }
        if next != b',' {
            return Err(self.fail(kind));
        }
        self.advance(1);
        self.skip_whitespace();
        Ok(true)
    }

    /// Skips the colon behind a member's name; the value is next.
    #[inline(always)]
    pub(crate) fn colon(&mut self) -> Result<(), Syntax> {
        self.skip_whitespace();
        if self.peek() != b':' {
            return Err(self.fail(SyntaxKind::ExpectedColon));
        }
        self.advance(1);
        self.skip_whitespace();
        Ok(())
    }

    /// The next `N` bytes; `None` if there are fewer.
    #[inline(always)]
    pub(crate) fn window<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.rest.first_chunk()
    }

    /// Skips `name`, a quoted name with its colon, and the white space behind it, if it comes next.
    #[inline(always)]
    pub(crate) fn take(&mut self, name: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(name);
        if let Some(rest) = rest {
            self.rest = rest;
            self.skip_whitespace();
        }
        rest.is_some()
    }

    /// Skips a string that is spelled as `text`, if it comes next.
    #[inline(always)]
    pub(crate) fn take_string(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(b"\"").and_then(|rest| rest.strip_prefix(text.as_bytes()));
        let rest = rest.and_then(|rest| rest.strip_prefix(b"\""));
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Reads `true`, `false` or `null` as it is spelled.
    pub(crate) fn literal(&mut self, spelling: &str) -> Result<(), Syntax> {
        for byte in spelling.bytes() {
            if self.peek() != byte {
                return Err(self.fail(SyntaxKind::ExpectedValue));
            }
            self.advance(1);
        }
        Ok(())
    }

    /// Skips the next value, and checks all of it.
    ///
    /// Not recursive: `in_object` is a stack with one bit for each level.
    pub fn skip_value(&mut self) -> Result<(), Syntax> {
        let floor = self.depth;
        let mut in_object: u64 = 0;
        loop {
            let mut first = match self.peek() {
                b'{' => {
                    self.open()?;
                    in_object = in_object << 1 | 1;
                    true
                }
                b'[' => {
                    self.open()?;
                    in_object <<= 1;
                    true
                }
                _ => {
                    self.skip_scalar()?;
                    false
                }
            };
            loop {
                if self.depth == floor {
                    return Ok(());
                }
                let more = if in_object & 1 == 1 {
                    let member = self.next_member(&mut first)?;
                    if member {
                        self.string()?;
                        self.colon()?;
                    }
                    member
                } else {
                    self.next_element(&mut first)?
                };
                if more {
                    break;
                }
                in_object >>= 1;
            }
        }
    }

    fn skip_scalar(&mut self) -> Result<(), Syntax> {
        match self.json_type()? {
            JsonType::String => self.string().map(drop),
            JsonType::Number if self.short_number::<()>().is_some() => Ok(()),
            JsonType::Number => self.number().map(drop),
            JsonType::Null => self.literal("null"),
            JsonType::Boolean => self.boolean().map(drop),
            JsonType::Object | JsonType::Array => unreachable!("the caller opens objects and arrays"),
        }
    }

    /// Reads `true` or `false`; the cursor stands on a `t` or an `f`.
    pub(crate) fn boolean(&mut self) -> Result<bool, Syntax> {
        let value = self.peek() == b't';
        self.literal(if value { "true" } else { "false" })?;
        Ok(value)
    }
}

//! JSON objects (RFC 8259), one a line, straight into a sink: no tree, no map, no recursion.
//!
//! Invariant: what is accepted is JSON in every byte, ignored values included; what the sink is
//! told are the members in the order of the line, those of nested objects under dotted names.
//! Objects inside arrays are validated and counted but not told.

use super::scan::{Scan, refuse};
use super::{Decoded, Limits, number};
use crate::base::{FieldSink, Reject, RejectReason};

/// Buffers, reused from line to line.
pub(super) struct JsonDecoder {
    limits: Limits,
    /// Prefix of the names at this place (`user.`), then the name itself.
    path: Vec<u8>,
    /// Lengths of the prefixes of the objects around.
    prefixes: Vec<usize>,
    /// Inside an array that is only validated: which containers are open; true for objects.
    ignored: Vec<bool>,
    /// A name with its escapes resolved.
    key: String,
    /// A text with its escapes resolved.
    text: String,
    /// An array of numbers.
    vector: Vec<f64>,
    /// Members of this line so far.
    fields: usize,
}

impl JsonDecoder {
    pub fn new(limits: &Limits) -> JsonDecoder {
        JsonDecoder {
            limits: limits.clone(),
            path: Vec::new(),
            prefixes: Vec::new(),
            ignored: Vec::new(),
            key: String::new(),
            text: String::new(),
            vector: Vec::new(),
            fields: 0,
        }
    }

    pub fn decode<S: FieldSink>(&mut self, line: &[u8], out: &mut S) -> Result<Decoded, Reject> {
        let text = std::str::from_utf8(line)
            .map_err(|error| refuse(RejectReason::Utf8, error.valid_up_to()))?;
        out.line(text.as_bytes());
        let mut scan = Scan { text, at: 0 };
        self.path.clear();
        self.prefixes.clear();
        self.fields = 0;
        match scan.next_token() {
            None => return Ok(Decoded::Blank),
            Some(b'{') => {}
            Some(_) => {
                let start = scan.at;
                self.ignore(&mut scan, 0)?;
                return Err(refuse(RejectReason::NotObject, start));
            }
        }
        self.object(&mut scan, out)?;
        match scan.next_token() {
            None => Ok(Decoded::Record),
            Some(_) => Err(scan.refuse(RejectReason::Trailing)),
        }
    }

    /// Takes the object whose brace is next, with the objects nested in it.
    fn object<S: FieldSink>(&mut self, scan: &mut Scan<'_>, out: &mut S) -> Result<(), Reject> {
        self.open(scan, 1)?;
        let mut empty = true;
        loop {
            // Names of a nested object arrive with those around it, so none is foreseen there.
            let opened = if self.prefixes.is_empty() && self.numbers(scan, out)? {
                false
            } else {
                match scan.next_token() {
                    Some(b'"') => self.field(scan, out)?,
                    Some(b'}') if empty => {
                        if self.close(scan) {
                            return Ok(());
                        }
                        false
                    }
                    _ => return Err(scan.refuse(RejectReason::Syntax)),
                }
            };
            if opened {
                empty = true;
                continue;
            }
            // After a value: the ends of objects, then the next member.
            empty = false;
            while scan.next_token() == Some(b'}') {
                if self.close(scan) {
                    return Ok(());
                }
            }
            if scan.peek() != Some(b',') {
                return Err(scan.refuse(RejectReason::Syntax));
            }
            scan.at += 1;
        }
    }

    /// Takes members with names that the sink foresees and values that are numbers, as many as
    /// follow each other with nothing but single spaces between: most of most lines. True if the
    /// cursor is behind a value, false if it is where it was.
    #[inline]
    fn numbers<S: FieldSink>(&mut self, scan: &mut Scan<'_>, out: &mut S) -> Result<bool, Reject> {
        let bytes = scan.text.as_bytes();
        // Places in a line are far from where they would wrap.
        let behind_space = |at: usize| at.wrapping_add(usize::from(bytes.get(at) == Some(&b' ')));
        // Between the quotes is all but two quotes and the colon.
        let longest = self.limits.max_key.saturating_add(3);
        let mut left = self.limits.max_fields.saturating_sub(self.fields);
        let before = left;
        let mut at = behind_space(scan.at);
        while let Some(rest) = bytes.get(at..)
            && let Some(name) = out.foreseen(rest)
        {
            let from = behind_space(at.wrapping_add(name.length as usize));
            if left == 0 || name.length as usize > longest {
                break;
            }
            let most = self.limits.max_number;
            let (value, end) = match bytes.get(from..) {
                // Counts and flags are most often a single digit.
                Some([digit @ b'0'..=b'9', b',', ..]) if most > 0 => {
                    (f64::from(digit - b'0'), from.wrapping_add(1))
                }
                Some([b'-' | b'0'..=b'9', ..]) => number::json(bytes, from, most)?,
                _ => break,
            };
            out.foreseen_number(name, value, bytes, from..end)
                .map_err(|reason| refuse(reason, at))?;
            left -= 1;
            scan.at = end;
            if bytes.get(end) != Some(&b',') {
                break;
            }
            at = behind_space(end.wrapping_add(1));
        }
        self.fields += before - left;
        Ok(left < before)
    }

    /// Takes the brace that ends an object; true when it was the record itself.
    fn close(&mut self, scan: &mut Scan<'_>) -> bool {
        scan.at += 1;
        match self.prefixes.pop() {
            Some(length) => {
                self.path.truncate(length);
                false
            }
            None => true,
        }
    }

    /// Takes one member and tells it; true when its value is an object, which is then open.
    fn field<S: FieldSink>(&mut self, scan: &mut Scan<'_>, out: &mut S) -> Result<bool, Reject> {
        let start = scan.at;
        let prefix = self.path.len();
        let text: &str = scan.text;
        // Only a whole name can be foreseen: within an object it is a part of one.
        let foreseen = match text.as_bytes().get(start..) {
            Some(rest) if prefix == 0 => out.foreseen(rest),
            _ => None,
        };
        let key = if let Some(name) = foreseen {
            out.foresee(name);
            // The colon has been seen, too.
            let key = &text[start + 1..start + name.length as usize - 2];
            scan.at = start + key.len() + 2;
            after_key(scan, &self.limits, &mut self.fields, start)?;
            key
        } else {
            member(scan, &self.limits, &mut self.fields, &mut self.key)?
        };
        let told = |result: Result<(), RejectReason>| result.map_err(|r| refuse(r, start));
        let name = if prefix == 0 {
            key.as_bytes()
        } else {
            self.path.extend_from_slice(key.as_bytes());
            &self.path
        };
        match scan.peek() {
            Some(b'"') => told(out.text(name, scan.string(&mut self.text)?))?,
            Some(b'-' | b'0'..=b'9') => {
                let from = scan.at;
                let bytes = scan.text.as_bytes();
                let (value, end) = number::json(bytes, from, self.limits.max_number)?;
                told(out.number(name, value, &bytes[from..end]))?;
                scan.at = end;
            }
            Some(b'{') => {
                told(out.other(name))?;
                if prefix == 0 {
                    self.path.extend_from_slice(key.as_bytes());
                }
                self.path.push(b'.');
                self.prefixes.push(prefix);
                self.open(scan, self.prefixes.len() + 1)?;
                return Ok(true);
            }
            Some(b'[') => {
                // Reading the array needs the buffers that the name may lie in.
                if prefix == 0 {
                    self.path.extend_from_slice(key.as_bytes());
                }
                if self.array(scan)? {
                    told(out.vector(&self.path, &self.vector))?;
                } else {
                    told(out.other(&self.path))?;
                }
            }
            Some(b't') => {
                scan.word("true")?;
                told(out.boolean(name, true))?;
            }
            Some(b'f') => {
                scan.word("false")?;
                told(out.boolean(name, false))?;
            }
            Some(b'n') => {
                scan.word("null")?;
                told(out.null(name))?;
            }
            _ => return Err(scan.refuse(RejectReason::Syntax)),
        }
        self.path.truncate(prefix);
        Ok(false)
    }

    /// Takes the array whose bracket is next; true when all of it is numbers, now in `vector`.
    fn array(&mut self, scan: &mut Scan<'_>) -> Result<bool, Reject> {
        let depth = self.prefixes.len() + 2;
        self.open(scan, depth)?;
        self.vector.clear();
        if scan.next_token() == Some(b']') {
            scan.at += 1;
            return Ok(true);
        }
        let mut numbers = true;
        loop {
            if let Some(b'-' | b'0'..=b'9') = scan.next_token() {
                let bytes = scan.text.as_bytes();
                let (value, end) = number::json(bytes, scan.at, self.limits.max_number)?;
                self.vector.push(value);
                scan.at = end;
            } else {
                numbers = false;
                self.ignore(scan, depth)?;
            }
            match scan.next_token() {
                Some(b',') => scan.at += 1,
                Some(b']') => {
                    scan.at += 1;
                    return Ok(numbers);
                }
                _ => return Err(scan.refuse(RejectReason::Syntax)),
            }
        }
    }

    /// Takes one value of any kind, within `depth` containers, and only validates it.
    fn ignore(&mut self, scan: &mut Scan<'_>, depth: usize) -> Result<(), Reject> {
        self.ignored.clear();
        loop {
            match scan.next_token() {
                Some(bracket @ (b'{' | b'[')) => {
                    let object = bracket == b'{';
                    self.open(scan, depth + self.ignored.len() + 1)?;
                    match (scan.next_token(), object) {
                        (Some(b'}'), true) | (Some(b']'), false) => scan.at += 1,
                        _ => {
                            self.ignored.push(object);
                            if object {
                                member(scan, &self.limits, &mut self.fields, &mut self.key)?;
                            }
                            continue;
                        }
                    }
                }
                Some(b'"') => {
                    scan.string(&mut self.text)?;
                }
                Some(b'-' | b'0'..=b'9') => {
                    let bytes = scan.text.as_bytes();
                    scan.at = number::json(bytes, scan.at, self.limits.max_number)?.1;
                }
                Some(b't') => scan.word("true")?,
                Some(b'f') => scan.word("false")?,
                Some(b'n') => scan.word("null")?,
                _ => return Err(scan.refuse(RejectReason::Syntax)),
            }
            // After a value: the next one, or the ends of containers.
            loop {
                let Some(&object) = self.ignored.last() else {
                    return Ok(());
                };
                match (scan.next_token(), object) {
                    (Some(b','), _) => {
                        scan.at += 1;
                        if object {
                            scan.next_token();
                            member(scan, &self.limits, &mut self.fields, &mut self.key)?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        scan.at += 1;
                        self.ignored.pop();
                    }
                    _ => return Err(scan.refuse(RejectReason::Syntax)),
                }
            }
        }
    }

    /// Takes a bracket or brace that makes this depth.
    fn open(&self, scan: &mut Scan<'_>, depth: usize) -> Result<(), Reject> {
        if depth > self.limits.max_depth {
            return Err(scan.refuse(RejectReason::Depth));
        }
        scan.at += 1;
        Ok(())
    }
}

/// Takes the name of a member, the colon and the space up to its value, and counts the member.
fn member<'b, 'a: 'b>(
    scan: &mut Scan<'a>,
    limits: &Limits,
    fields: &mut usize,
    buffer: &'b mut String,
) -> Result<&'b str, Reject> {
    if scan.peek() != Some(b'"') {
        return Err(scan.refuse(RejectReason::Syntax));
    }
    let start = scan.at;
    if *fields >= limits.max_fields {
        return Err(scan.refuse(RejectReason::Fields));
    }
    let key = scan.string(buffer)?;
    after_key(scan, limits, fields, start)?;
    Ok(key)
}

/// Takes what follows the name of a member that began at `start`, and counts the member.
#[inline]
fn after_key(
    scan: &mut Scan<'_>,
    limits: &Limits,
    fields: &mut usize,
    start: usize,
) -> Result<(), Reject> {
    *fields += 1;
    if *fields > limits.max_fields {
        return Err(refuse(RejectReason::Fields, start));
    }
    // Between the quotes, escapes as they are written.
    if scan.at - start - 2 > limits.max_key {
        return Err(refuse(RejectReason::KeyLen, start));
    }
    if scan.next_token() != Some(b':') {
        return Err(scan.refuse(RejectReason::Syntax));
    }
    scan.at += 1;
    scan.next_token();
    Ok(())
}

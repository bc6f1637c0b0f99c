//! The body of an AMQP 1.0 message that is a value (`amqp-value`), in the encoding of AMQP 1.0 part 1 §1.6: what JMS clients
//! make of a MapMessage (a map) and of a TextMessage (a string).
//!
//! Read here and not by the AMQP library, because that reads nested values by recursion without a bound, and one message
//! from anybody could end the process. Nothing here recurses, and nothing is allocated for bytes that are not there.

use super::wso2::value::{MAX_VALUES, Map, Unencodable, Value};

/// What the hub calls a body of this format.
pub const CONTENT_TYPE: &str = "application/x-amqp-value";

/// Why bytes are not a value of AMQP 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// They end before something that they announced.
    #[error("the value ends before something that it announced")]
    Truncated,
    /// Something comes after the value.
    #[error("something comes after the value")]
    Rest,
    /// A text is not UTF-8.
    #[error("a text in the value is not UTF-8")]
    Utf8,
    /// An encoding that does not exist.
    #[error("the value has the unknown encoding {0:#04x}")]
    Encoding(u8),
    /// The key of an entry is not a text.
    #[error("a key of the map is not a text")]
    Key,
    /// A map has an odd number of keys and values, or more than accepted.
    #[error("the map has a number of keys and values that cannot be")]
    Count,
}

/// Reads a body: a map, or a simple value. What a map has of maps, lists and the like is taken for null.
pub fn decode(body: &[u8]) -> Result<Value, ValueError> {
    let mut reader = Reader(body);
    let value = match body.first() {
        Some(0xc1 | 0xd1) => Value::Map(map(&mut reader)?),
        _ => simple(&mut reader)?,
    };
    if reader.0.is_empty() { Ok(value) } else { Err(ValueError::Rest) }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], ValueError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ValueError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ValueError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ValueError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, ValueError> {
        self.array().map(|[byte]| byte)
    }

    /// One byte when `short`, else four.
    fn length(&mut self, short: bool) -> Result<usize, ValueError> {
        if short {
            return self.byte().map(usize::from);
        }
        Ok(usize::try_from(u32::from_be_bytes(self.array()?)).unwrap_or(usize::MAX))
    }
}

fn map(reader: &mut Reader<'_>) -> Result<Map, ValueError> {
    let short = reader.byte()? == 0xc1;
    let size = reader.length(short)?;
    let mut inner = Reader(reader.take(size)?);
    let count = inner.length(short)?;
    if count % 2 != 0 || count / 2 > MAX_VALUES {
        return Err(ValueError::Count);
    }
    let mut map = Map::default();
    for _ in 0..count / 2 {
        let Value::Text(key) = simple(&mut inner)? else { return Err(ValueError::Key) };
        map.0.push((key, simple(&mut inner)?));
    }
    if inner.0.is_empty() { Ok(map) } else { Err(ValueError::Rest) }
}

fn simple(reader: &mut Reader<'_>) -> Result<Value, ValueError> {
    let text = |bytes: &[u8]| str::from_utf8(bytes).map(|t| Value::Text(t.to_owned())).map_err(|_| ValueError::Utf8);
    // What is larger than the largest is as good as that.
    let unsigned = |number: u64| Value::I64(i64::try_from(number).unwrap_or(i64::MAX));
    Ok(match reader.byte()? {
        0x40 => Value::Null,
        0x41 => Value::Bool(true),
        0x42 => Value::Bool(false),
        0x56 => Value::Bool(reader.byte()? != 0),
        0x43 | 0x44 => Value::I64(0),
        0x50 | 0x52 | 0x53 => Value::I64(reader.byte()?.into()),
        0x60 => Value::I32(u16::from_be_bytes(reader.array()?).into()),
        0x70 => Value::I64(u32::from_be_bytes(reader.array()?).into()),
        0x80 => unsigned(u64::from_be_bytes(reader.array()?)),
        0x51 => Value::I8(i8::from_be_bytes(reader.array()?)),
        0x61 => Value::I16(i16::from_be_bytes(reader.array()?)),
        0x71 => Value::I32(i32::from_be_bytes(reader.array()?)),
        0x54 => Value::I32(i8::from_be_bytes(reader.array()?).into()),
        0x81 => Value::I64(i64::from_be_bytes(reader.array()?)),
        0x55 => Value::I64(i8::from_be_bytes(reader.array()?).into()),
        // A timestamp: milliseconds since 1970.
        0x83 => Value::I64(i64::from_be_bytes(reader.array()?)),
        0x72 => Value::F32(f32::from_be_bytes(reader.array()?)),
        0x82 => Value::F64(f64::from_be_bytes(reader.array()?)),
        0x98 => Value::Uuid(reader.array()?),
        code @ (0xa0 | 0xb0) => {
            let length = reader.length(code == 0xa0)?;
            Value::Bytes(reader.take(length)?.to_vec())
        }
        // Symbols too.
        code @ (0xa1 | 0xb1 | 0xa3 | 0xb3) => {
            let length = reader.length(code < 0xb0)?;
            text(reader.take(length)?)?
        }
        code => {
            skip(reader, code)?;
            Value::Null
        }
    })
}

/// Skips a value whose encoding was read. Every encoding says its width in its first half byte (§1.2), and a described value
/// is two values.
fn skip(reader: &mut Reader<'_>, code: u8) -> Result<(), ValueError> {
    let mut code = code;
    let mut left: usize = 1;
    loop {
        let width = match code >> 4 {
            0x4 => 0,
            0x5 => 1,
            0x6 => 2,
            0x7 => 4,
            0x8 => 8,
            0x9 => 16,
            0xa | 0xc | 0xe => reader.length(true)?,
            0xb | 0xd | 0xf => reader.length(false)?,
            _ if code == 0 => {
                left += 2;
                0
            }
            _ => return Err(ValueError::Encoding(code)),
        };
        reader.take(width)?;
        left -= 1;
        if left == 0 {
            return Ok(());
        }
        code = reader.byte()?;
    }
}

/// Writes a map. Values that are no simple ones cannot be written.
pub fn encode(map: &Map) -> Result<Vec<u8>, Unencodable> {
    let mut entries = Vec::new();
    for (key, value) in &map.0 {
        put_sized(&mut entries, 0xb1, key.as_bytes())?;
        let mut fixed = |code: u8, bytes: &[u8]| {
            entries.push(code);
            entries.extend_from_slice(bytes);
        };
        match value {
            Value::Null => fixed(0x40, &[]),
            Value::Bool(value) => fixed(if *value { 0x41 } else { 0x42 }, &[]),
            Value::I8(value) => fixed(0x51, &value.to_be_bytes()),
            Value::I16(value) => fixed(0x61, &value.to_be_bytes()),
            Value::I32(value) => fixed(0x71, &value.to_be_bytes()),
            Value::I64(value) => fixed(0x81, &value.to_be_bytes()),
            Value::Text(text) => put_sized(&mut entries, 0xb1, text.as_bytes())?,
            Value::Bytes(bytes) => put_sized(&mut entries, 0xb0, bytes)?,
            _ => return Err(Unencodable::Type),
        }
    }
    let count = u32::try_from(map.0.len() * 2).map_err(|_| Unencodable::Length)?;
    let mut out = Vec::with_capacity(entries.len() + 9);
    put_sized(&mut out, 0xd1, &[&count.to_be_bytes(), &entries[..]].concat())?;
    Ok(out)
}

fn put_sized(out: &mut Vec<u8>, code: u8, bytes: &[u8]) -> Result<(), Unencodable> {
    out.push(code);
    out.extend_from_slice(&u32::try_from(bytes.len()).map_err(|_| Unencodable::Length)?.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use fe2o3_amqp::types::primitives::{OrderedMap, Value as Theirs};
    use proptest::prelude::*;
    use serde_amqp::{described::Described, descriptor::Descriptor, to_vec};

    use super::*;

    fn theirs(entries: Vec<(&str, Theirs)>) -> Vec<u8> {
        let map: OrderedMap<String, Theirs> = entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        to_vec(&map).unwrap()
    }

    #[test]
    fn what_another_encoder_writes_is_read() {
        let nested = Theirs::List(vec![Theirs::List(vec![]), Theirs::String("x".into())]);
        let described = Described { descriptor: Descriptor::Code(7), value: Theirs::String("y".into()) };
        let body = theirs(vec![
            ("revokedToken", Theirs::String("0123".into())),
            ("expiryTime", Theirs::Long(4_102_444_800_000)),
            ("tenantId", Theirs::Int(-1234)),
            ("small", Theirs::Long(-5)),
            ("list", nested),
            ("described", Theirs::Described(Box::new(described))),
            ("null", Theirs::Null),
            ("ttl", Theirs::String("t".repeat(300))),
        ]);
        let Value::Map(map) = decode(&body).unwrap() else { panic!("a map") };
        assert_eq!(map.get("revokedToken"), Some(&Value::Text("0123".into())));
        assert_eq!(map.get("expiryTime"), Some(&Value::I64(4_102_444_800_000)));
        assert_eq!(map.get("tenantId").and_then(Value::integer), Some(-1234));
        assert_eq!(map.get("small"), Some(&Value::I64(-5)));
        for gone in ["list", "described", "null"] {
            assert_eq!(map.get(gone), Some(&Value::Null));
        }
        assert_eq!(map.get("ttl"), Some(&Value::Text("t".repeat(300))));
        assert_eq!(decode(&to_vec(&"text").unwrap()), Ok(Value::Text("text".into())));
    }

    #[test]
    fn what_is_no_value_is_an_error() {
        for (bytes, error) in [
            (&b""[..], ValueError::Truncated),
            (b"\xa1\x05abc", ValueError::Truncated),
            (b"\xb1\xff\xff\xff\xff", ValueError::Truncated),
            (b"\xa1\x01\xff", ValueError::Utf8),
            (b"\x40\x40", ValueError::Rest),
            (b"\x10", ValueError::Encoding(0x10)),
            (b"\xc1\x02\x01\x40", ValueError::Count),
            (b"\xc1\x03\x02\x40\x40", ValueError::Key),
            (b"\xc1\x05\x02\xa1\x00\x40\x40", ValueError::Rest),
            (b"\xd1\x00\x00\x00\x04\xff\xff\xff\xfe", ValueError::Count),
        ] {
            assert_eq!(decode(bytes), Err(error), "{bytes:x?}");
        }
        // Depth costs nothing.
        assert_eq!(decode(&[0; 99_999]), Err(ValueError::Truncated));
    }

    #[test]
    fn what_is_written_another_decoder_reads() {
        let map = Map(vec![
            ("revokedToken".into(), Value::Text("0123ü".into())),
            ("expiryTime".into(), Value::I64(-1)),
            ("tenantId".into(), Value::I32(7)),
            ("none".into(), Value::Null),
            ("yes".into(), Value::Bool(true)),
        ]);
        let body = encode(&map).unwrap();
        let theirs: OrderedMap<String, Theirs> = serde_amqp::from_slice(&body).unwrap();
        assert_eq!(theirs.get("revokedToken"), Some(&Theirs::String("0123ü".into())));
        assert_eq!(theirs.get("expiryTime"), Some(&Theirs::Long(-1)));
        assert_eq!(theirs.get("tenantId"), Some(&Theirs::Int(7)));
        assert_eq!((theirs.get("none"), theirs.get("yes")), (Some(&Theirs::Null), Some(&Theirs::Bool(true))));
        assert_eq!(decode(&body), Ok(Value::Map(map)));
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..60), code in any::<u8>()) {
            let _ = decode(&bytes);
            let _ = decode(&[&[0xc1, bytes.len() as u8 + 4, 2, 0xa1, 0, code][..], &bytes].concat());
        }
    }
}

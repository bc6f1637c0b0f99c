//! `jms/map-message`: what the Andes client makes of a JMS MapMessage when told to use the legacy format
//! (`JMSMapMessage`, `EncodingUtils`):
//!
//! ```text
//! i32 entry count | { UTF-8 key, 00, u8 type, value } *
//! ```
//!
//! Bytes after the last entry are ignored, as WSO2's own decoder does.

use super::value::{Map, MapError, Reader, Unencodable, Value, text};

mod code {
    pub const BOOL: u8 = 1;
    pub const I8: u8 = 2;
    pub const BYTES: u8 = 3;
    pub const I16: u8 = 4;
    pub const CHAR: u8 = 5;
    pub const I32: u8 = 6;
    pub const I64: u8 = 7;
    pub const F32: u8 = 8;
    pub const F64: u8 = 9;
    pub const TEXT: u8 = 10;
    pub const NULL: u8 = 11;
}

/// Reads a body.
pub fn decode(body: &[u8]) -> Result<Map, MapError> {
    let mut reader = Reader::new(body);
    let count = usize::try_from(i32::from_be_bytes(reader.array()?)).map_err(|_| MapError::Count)?;
    // The NUL after a key, and a type.
    reader.announce(count, 2)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let key = text(reader.until_nul()?)?;
        entries.push((key, value(&mut reader)?));
    }
    Ok(Map(entries))
}

fn value(reader: &mut Reader<'_>) -> Result<Value, MapError> {
    Ok(match reader.byte()? {
        code::NULL => Value::Null,
        code::BOOL => Value::Bool(reader.byte()? != 0),
        code::I8 => Value::I8(i8::from_be_bytes(reader.array()?)),
        code::I16 => Value::I16(i16::from_be_bytes(reader.array()?)),
        code::CHAR => Value::Char(u16::from_be_bytes(reader.array()?)),
        code::I32 => Value::I32(i32::from_be_bytes(reader.array()?)),
        code::I64 => Value::I64(i64::from_be_bytes(reader.array()?)),
        code::F32 => Value::F32(f32::from_be_bytes(reader.array()?)),
        code::F64 => Value::F64(f64::from_be_bytes(reader.array()?)),
        code::TEXT => Value::Text(text(reader.until_nul()?)?),
        code::BYTES => match i32::from_be_bytes(reader.array()?) {
            -1 => Value::Null,
            length => Value::Bytes(reader.take(usize::try_from(length).map_err(|_| MapError::Truncated)?)?.to_vec()),
        },
        unknown => return Err(MapError::Type(unknown)),
    })
}

/// Writes a body.
pub fn encode(map: &Map) -> Result<Vec<u8>, Unencodable> {
    let mut out = Vec::new();
    put_length(&mut out, map.0.len())?;
    for (key, value) in &map.0 {
        put_text(&mut out, key)?;
        put(&mut out, value)?;
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, value: &Value) -> Result<(), Unencodable> {
    let mut fixed = |code: u8, bytes: &[u8]| {
        out.push(code);
        out.extend_from_slice(bytes);
    };
    match value {
        Value::Null => fixed(code::NULL, &[]),
        Value::Bool(value) => fixed(code::BOOL, &[u8::from(*value)]),
        Value::I8(value) => fixed(code::I8, &value.to_be_bytes()),
        Value::I16(value) => fixed(code::I16, &value.to_be_bytes()),
        Value::Char(value) => fixed(code::CHAR, &value.to_be_bytes()),
        Value::I32(value) => fixed(code::I32, &value.to_be_bytes()),
        Value::I64(value) => fixed(code::I64, &value.to_be_bytes()),
        Value::F32(value) => fixed(code::F32, &value.to_be_bytes()),
        Value::F64(value) => fixed(code::F64, &value.to_be_bytes()),
        Value::Text(text) => {
            out.push(code::TEXT);
            put_text(out, text)?;
        }
        Value::Bytes(bytes) => {
            out.push(code::BYTES);
            put_length(out, bytes.len())?;
            out.extend_from_slice(bytes);
        }
        Value::Uuid(_) | Value::Map(_) | Value::List(_) => return Err(Unencodable::Type),
    }
    Ok(())
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Result<(), Unencodable> {
    if text.bytes().any(|b| b == 0) {
        return Err(Unencodable::Nul);
    }
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    Ok(())
}

fn put_length(out: &mut Vec<u8>, length: usize) -> Result<(), Unencodable> {
    out.extend_from_slice(&i32::try_from(length).map_err(|_| Unencodable::Length)?.to_be_bytes());
    Ok(())
}

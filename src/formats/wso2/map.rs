//! `amqp/map`: what the Andes client makes of a JMS MapMessage by default (`AMQPEncodedMapMessage`, `BBEncoder`,
//! `BBDecoder`; the map of AMQP 0-10):
//!
//! ```text
//! u32 size of what follows | u32 entry count | { u8 key length, UTF-8 key, u8 type, value } *
//! ```
//!
//! WSO2 writes every text as type 98 (u32 length); upstream Qpid writes 95 (u16). Bytes after the last entry are ignored,
//! as WSO2's own decoder does.

use super::value::{MAX_DEPTH, Map, MapError, Reader, Unencodable, Value, text};

mod code {
    pub const I8: u8 = 0x01;
    pub const BOOL: u8 = 0x08;
    pub const I16: u8 = 0x11;
    pub const I32: u8 = 0x21;
    pub const F32: u8 = 0x23;
    pub const I64: u8 = 0x31;
    pub const F64: u8 = 0x33;
    pub const UUID: u8 = 0x48;
    pub const TEXT8: u8 = 0x85;
    pub const TEXT16: u8 = 0x95;
    pub const TEXT32: u8 = 0x98;
    pub const BYTES: u8 = 0xa0;
    pub const MAP: u8 = 0xa8;
    pub const LIST: u8 = 0xa9;
    pub const NULL: u8 = 0xf0;
}

/// Reads a body.
pub fn decode(body: &[u8]) -> Result<Map, MapError> {
    map(&mut Reader::new(body), 0)?.ok_or(MapError::Null)
}

/// `None` is the null map.
fn map(reader: &mut Reader<'_>, depth: usize) -> Result<Option<Map>, MapError> {
    let size = reader.length()?;
    if size == 0 {
        return Ok(None);
    }
    reader.within(size, |reader| {
        let count = reader.length()?;
        // A key's length and a type.
        reader.announce(count, 2)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let length = reader.byte()?;
            let key = text(reader.take(length.into())?)?;
            entries.push((key, value(reader, depth)?));
        }
        Ok(Some(Map(entries)))
    })
}

fn list(reader: &mut Reader<'_>, depth: usize) -> Result<Vec<Value>, MapError> {
    let size = reader.length()?;
    if size == 0 {
        return Ok(Vec::new());
    }
    reader.within(size, |reader| {
        let count = reader.length()?;
        // A type.
        reader.announce(count, 1)?;
        (0..count).map(|_| value(reader, depth)).collect()
    })
}

fn value(reader: &mut Reader<'_>, depth: usize) -> Result<Value, MapError> {
    let deeper = || if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(MapError::TooDeep) };
    Ok(match reader.byte()? {
        code::NULL => Value::Null,
        code::BOOL => Value::Bool(reader.byte()? != 0),
        code::I8 => Value::I8(i8::from_be_bytes(reader.array()?)),
        code::I16 => Value::I16(i16::from_be_bytes(reader.array()?)),
        code::I32 => Value::I32(i32::from_be_bytes(reader.array()?)),
        code::I64 => Value::I64(i64::from_be_bytes(reader.array()?)),
        code::F32 => Value::F32(f32::from_be_bytes(reader.array()?)),
        code::F64 => Value::F64(f64::from_be_bytes(reader.array()?)),
        code::UUID => Value::Uuid(reader.array()?),
        code::TEXT8 => {
            let length = reader.byte()?;
            Value::Text(text(reader.take(length.into())?)?)
        }
        code::TEXT16 => {
            let length = u16::from_be_bytes(reader.array()?);
            Value::Text(text(reader.take(length.into())?)?)
        }
        code::TEXT32 => {
            let length = reader.length()?;
            Value::Text(text(reader.take(length)?)?)
        }
        code::BYTES => {
            let length = reader.length()?;
            Value::Bytes(reader.take(length)?.to_vec())
        }
        code::MAP => map(reader, deeper()?)?.map_or(Value::Null, Value::Map),
        code::LIST => Value::List(list(reader, deeper()?)?),
        unknown => return Err(MapError::Type(unknown)),
    })
}

/// Writes a body, texts as type 98.
pub fn encode(map: &Map) -> Result<Vec<u8>, Unencodable> {
    let mut out = Vec::new();
    put_map(&mut out, map)?;
    Ok(out)
}

fn put_map(out: &mut Vec<u8>, map: &Map) -> Result<(), Unencodable> {
    sized(out, |out| {
        put_length(out, map.0.len())?;
        for (key, value) in &map.0 {
            out.push(u8::try_from(key.len()).map_err(|_| Unencodable::Length)?);
            out.extend_from_slice(key.as_bytes());
            put(out, value)?;
        }
        Ok(())
    })
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
        Value::I32(value) => fixed(code::I32, &value.to_be_bytes()),
        Value::I64(value) => fixed(code::I64, &value.to_be_bytes()),
        Value::F32(value) => fixed(code::F32, &value.to_be_bytes()),
        Value::F64(value) => fixed(code::F64, &value.to_be_bytes()),
        Value::Uuid(value) => fixed(code::UUID, value),
        Value::Char(_) => return Err(Unencodable::Type),
        Value::Text(text) => {
            out.push(code::TEXT32);
            put_length(out, text.len())?;
            out.extend_from_slice(text.as_bytes());
        }
        Value::Bytes(bytes) => {
            out.push(code::BYTES);
            put_length(out, bytes.len())?;
            out.extend_from_slice(bytes);
        }
        Value::Map(map) => {
            out.push(code::MAP);
            put_map(out, map)?;
        }
        Value::List(list) => {
            out.push(code::LIST);
            sized(out, |out| {
                put_length(out, list.len())?;
                list.iter().try_for_each(|value| put(out, value))
            })?;
        }
    }
    Ok(())
}

fn put_length(out: &mut Vec<u8>, length: usize) -> Result<(), Unencodable> {
    out.extend_from_slice(&u32::try_from(length).map_err(|_| Unencodable::Length)?.to_be_bytes());
    Ok(())
}

/// Puts the size of what `write` writes in front of it.
fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Unencodable>) -> Result<(), Unencodable> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let size = u32::try_from(out.len() - start - 4).map_err(|_| Unencodable::Length)?;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

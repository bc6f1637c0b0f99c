//! What a JMS map message holds, independent of its encoding, and a reader that no length in a message can mislead.

use std::fmt;

/// How deep maps and lists may nest; WSO2's do not nest at all.
pub const MAX_DEPTH: usize = 8;

/// How many values a message may hold; WSO2's hold six. Without a bound two bytes of input would make a value of sixty.
pub const MAX_VALUES: usize = 1024;

/// A value of a map message.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Nothing, or a null of any type.
    Null,
    /// `boolean`
    Bool(bool),
    /// `byte`
    I8(i8),
    /// `short`
    I16(i16),
    /// `char`, a UTF-16 code unit; only in `jms/map-message`.
    Char(u16),
    /// `int`
    I32(i32),
    /// `long`
    I64(i64),
    /// `float`
    F32(f32),
    /// `double`
    F64(f64),
    /// `String`
    Text(String),
    /// `byte[]`
    Bytes(Vec<u8>),
    /// `UUID`; only in `amqp/map`, like the next two.
    Uuid([u8; 16]),
    /// A map.
    Map(Map),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// As Java's `MapMessage.getString` gives it: numbers in decimal.
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Value::Text(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::I8(_) | Value::I16(_) | Value::I32(_) | Value::I64(_) => self.integer()?.to_string(),
            _ => return None,
        })
    }

    /// As `getLong` gives it, except that what is no number is `None`.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Value::I8(number) => Some((*number).into()),
            Value::I16(number) => Some((*number).into()),
            Value::I32(number) => Some((*number).into()),
            Value::I64(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

impl fmt::Debug for Value {
    /// Never shows a text: it may be a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Text(text) => write!(f, "text of {} bytes", text.len()),
            Value::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Value::Bool(value) => value.fmt(f),
            Value::I8(value) => value.fmt(f),
            Value::I16(value) => value.fmt(f),
            Value::Char(value) => value.fmt(f),
            Value::I32(value) => value.fmt(f),
            Value::I64(value) => value.fmt(f),
            Value::F32(value) => value.fmt(f),
            Value::F64(value) => value.fmt(f),
            Value::Uuid(value) => value.fmt(f),
            Value::Map(map) => map.fmt(f),
            Value::List(list) => list.fmt(f),
        }
    }
}

/// The entries of a map message, in the order of the message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map(pub Vec<(String, Value)>);

impl Map {
    /// The value under a key; the last one, if there are several, as in a Java map.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value)
    }
}

/// Why a map message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// It ends before something that it announced.
    #[error("the map ends before something that it announced")]
    Truncated,
    /// It is the null map (`amqp/map` with size 0).
    #[error("the map is null")]
    Null,
    /// It announces more entries than its bytes can hold.
    #[error("the map announces more entries than its bytes can hold")]
    Count,
    /// It has more values than accepted.
    #[error("the map has more than {MAX_VALUES} values")]
    TooMany,
    /// It nests deeper than accepted.
    #[error("the map nests deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A value is of a type that is not known.
    #[error("the map has a value of the unknown type {0:#04x}")]
    Type(u8),
    /// A text is not UTF-8.
    #[error("a text in the map is not UTF-8")]
    Utf8,
}

/// Why a map cannot be written in an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    /// A key, text or list is longer than the encoding can say.
    #[error("a key, text or list is longer than the encoding can say")]
    Length,
    /// A text has a NUL, which ends texts in this encoding.
    #[error("a text has a NUL, which ends texts in this encoding")]
    Nul,
    /// The encoding has no such type.
    #[error("the encoding has no such type")]
    Type,
}

/// Takes bytes off the front of a slice. Nothing is ever allocated for bytes that are not there.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// How many values may still come.
    budget: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, budget: MAX_VALUES }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], MapError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(MapError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes, for `from_be_bytes`.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], MapError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(MapError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn byte(&mut self) -> Result<u8, MapError> {
        self.array().map(|[byte]| byte)
    }

    /// A length of four bytes. 32 bits fit wherever the hub runs; elsewhere it could only be too much.
    pub fn length(&mut self) -> Result<usize, MapError> {
        Ok(usize::try_from(u32::from_be_bytes(self.array()?)).unwrap_or(usize::MAX))
    }

    /// The bytes up to the next NUL, which is taken as well.
    pub fn until_nul(&mut self) -> Result<&'a [u8], MapError> {
        let end = self.rest.iter().position(|b| *b == 0).ok_or(MapError::Truncated)?;
        let taken = self.take(end)?;
        self.byte()?;
        Ok(taken)
    }

    /// Checks that `count` items of at least `least` bytes can be there, and that they are not too many altogether.
    pub fn announce(&mut self, count: usize, least: usize) -> Result<(), MapError> {
        if count > self.rest.len() / least {
            return Err(MapError::Count);
        }
        self.budget = self.budget.checked_sub(count).ok_or(MapError::TooMany)?;
        Ok(())
    }

    /// Reads with `read` from the next `len` bytes only, and leaves what it does not use.
    pub fn within<T>(
        &mut self,
        len: usize,
        read: impl FnOnce(&mut Self) -> Result<T, MapError>,
    ) -> Result<T, MapError> {
        let mut inner = Reader { rest: self.take(len)?, budget: self.budget };
        let value = read(&mut inner)?;
        self.budget = inner.budget;
        Ok(value)
    }
}

/// Bytes as text.
pub(super) fn text(bytes: &[u8]) -> Result<String, MapError> {
    str::from_utf8(bytes).map(str::to_owned).map_err(|_| MapError::Utf8)
}

//! A JMS MapMessage in XML, as ActiveMQ translates it for STOMP (`transformation:jms-map-xml`, by XStream):
//!
//! ```text
//! <map><entry><string>revokedToken</string><string>…</string></entry><entry><string>n</string><long>5</long></entry></map>
//! ```
//!
//! Its JSON twin would do for nobody: it turns a text of digits into a number and forgets its zeros.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::escape::partial_escape;
use quick_xml::events::{BytesStart, Event};

use super::wso2::value::{MAX_VALUES, Map, Unencodable, Value};

/// What the hub calls a body of this format; ActiveMQ itself names none.
pub const CONTENT_TYPE: &str = "application/x-jms-map+xml";

/// Why XML is not a map message. No text of the message is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It is not UTF-8.
    #[error("the XML is not UTF-8")]
    Utf8,
    /// It is not well formed.
    #[error("the XML is not well formed")]
    Malformed,
    /// It is not the XML of a map.
    #[error("the XML is not a map: {0}")]
    Shape(&'static str),
    /// It has more entries than accepted.
    #[error("the map has more than {MAX_VALUES} entries")]
    TooMany,
}

type Xml<'a> = Reader<&'a [u8]>;

/// Reads a body. Values that are no simple ones (maps, lists, objects) are taken for null: nothing of ours is in them.
pub fn decode(body: &[u8]) -> Result<Map, XmlError> {
    let text = str::from_utf8(body).map_err(|_| XmlError::Utf8)?;
    let mut xml = Reader::from_str(text);
    match next(&mut xml)? {
        Some(Tag::Empty(name)) if name == "map" => return Ok(Map::default()),
        Some(Tag::Open(start)) if start.name().as_ref() == "map" => {}
        _ => return Err(XmlError::Shape("it does not begin with a map")),
    }
    let mut map = Map::default();
    loop {
        match next(&mut xml)? {
            None => return Ok(map),
            Some(Tag::Open(start)) if start.name().as_ref() == "entry" => {}
            Some(_) => return Err(XmlError::Shape("something else than an entry is in it")),
        }
        if map.0.len() == MAX_VALUES {
            return Err(XmlError::TooMany);
        }
        let key = match value(&mut xml)? {
            Some(Value::Text(key)) => key,
            _ => return Err(XmlError::Shape("a key is not a text")),
        };
        let value = value(&mut xml)?.ok_or(XmlError::Shape("an entry has no value"))?;
        if next(&mut xml)?.is_some() {
            return Err(XmlError::Shape("an entry has more than a key and a value"));
        }
        map.0.push((key, value));
    }
}

/// What begins next.
enum Tag<'a> {
    Open(BytesStart<'a>),
    Empty(String),
}

/// What begins next; `None` when what we are in ends. White space does not count.
fn next<'a>(xml: &mut Xml<'a>) -> Result<Option<Tag<'a>>, XmlError> {
    loop {
        return match xml.read_event().map_err(|_| XmlError::Malformed)? {
            Event::Start(start) => Ok(Some(Tag::Open(start))),
            Event::Empty(start) => Ok(Some(Tag::Empty(start.name().as_ref().to_owned()))),
            Event::End(_) => Ok(None),
            Event::Text(text) if text.trim_ascii().is_empty() => continue,
            Event::Decl(_) | Event::Comment(_) => continue,
            Event::Eof => Err(XmlError::Malformed),
            _ => Err(XmlError::Shape("there is text between its elements")),
        };
    }
}

/// The value that comes next; `None` when there is none.
fn value(xml: &mut Xml<'_>) -> Result<Option<Value>, XmlError> {
    let start = match next(xml)? {
        None => return Ok(None),
        Some(Tag::Empty(name)) if name == "string" => return Ok(Some(Value::Text(String::new()))),
        Some(Tag::Empty(_)) => return Ok(Some(Value::Null)),
        Some(Tag::Open(start)) => start,
    };
    let name = start.name();
    let number = XmlError::Shape("a number is none");
    let mut whole = || -> Result<i64, XmlError> { text(xml)?.trim().parse().map_err(|_| number) };
    Ok(Some(match name.as_ref() {
        "string" => Value::Text(text(xml)?),
        "long" => Value::I64(whole()?),
        "int" => Value::I32(i32::try_from(whole()?).map_err(|_| number)?),
        "short" => Value::I16(i16::try_from(whole()?).map_err(|_| number)?),
        "byte" => Value::I8(i8::try_from(whole()?).map_err(|_| number)?),
        "boolean" => Value::Bool(text(xml)?.trim() == "true"),
        "float" => Value::F32(text(xml)?.trim().parse().map_err(|_| number)?),
        "double" => Value::F64(text(xml)?.trim().parse().map_err(|_| number)?),
        _ => {
            // Without recursion, however deep it is.
            xml.read_to_end(name).map_err(|_| XmlError::Malformed)?;
            Value::Null
        }
    }))
}

/// The text up to the end of the element that we are in.
fn text(xml: &mut Xml<'_>) -> Result<String, XmlError> {
    let mut out = String::new();
    loop {
        match xml.read_event().map_err(|_| XmlError::Malformed)? {
            Event::Text(text) => out.push_str(&text),
            Event::CData(text) => out.push_str(&text),
            Event::GeneralRef(reference) => out.push(match &*reference {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                other => character(other).ok_or(XmlError::Shape("an entity is not known"))?,
            }),
            Event::Comment(_) => {}
            Event::End(_) => return Ok(out),
            Event::Eof => return Err(XmlError::Malformed),
            _ => return Err(XmlError::Shape("a text has elements in it")),
        }
    }
}

/// `#10` or `#xA`. Also those that XML itself does not allow, because XStream writes them.
fn character(reference: &str) -> Option<char> {
    let number = reference.strip_prefix('#')?;
    let code = match number.strip_prefix('x') {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    char::from_u32(code.ok()?)
}

/// Writes a body. Null is left out, which is the same to `MapMessage.getString`. A text with characters that XML does not
/// have cannot be written.
pub fn encode(map: &Map) -> Result<String, Unencodable> {
    let mut out = String::from("<map>");
    for (key, value) in &map.0 {
        let (name, text): (_, Cow<'_, str>) = match value {
            Value::Null => continue,
            Value::Text(text) => ("string", text.into()),
            Value::Bool(value) => ("boolean", value.to_string().into()),
            Value::I8(value) => ("byte", value.to_string().into()),
            Value::I16(value) => ("short", value.to_string().into()),
            Value::I32(value) => ("int", value.to_string().into()),
            Value::I64(value) => ("long", value.to_string().into()),
            _ => return Err(Unencodable::Type),
        };
        if !(key.chars().all(is_xml) && text.chars().all(is_xml)) {
            return Err(Unencodable::Type);
        }
        let (key, text) = (partial_escape(key), partial_escape(&*text));
        out.push_str(&format!("<entry><string>{key}</string><{name}>{text}</{name}></entry>"));
    }
    out.push_str("</map>");
    Ok(out)
}

/// What may stand in XML 1.0 (§2.2).
fn is_xml(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_activemq_writes_is_read() {
        let xml = "<map>\n  <entry>\n    <string>revokedToken</string>\n    <string>0123 &amp; &lt;x&#x1;</string>\n  \
            </entry>\n  <entry>\n    <string>i</string>\n    <int>-1234</int>\n  </entry>\n  <entry>\n    \
            <string>n</string>\n    <long>5</long>\n  </entry>\n  <entry><string>e</string><string></string></entry>\
            <entry><string>z</string><null/></entry><entry><string>m</string><map><entry><string>a</string>\
            <string>b</string></entry></map></entry></map>";
        let map = decode(xml.as_bytes()).unwrap();
        assert_eq!(map.get("revokedToken"), Some(&Value::Text("0123 & <x\u{1}".into())));
        assert_eq!(map.get("i"), Some(&Value::I32(-1234)));
        assert_eq!(map.get("n"), Some(&Value::I64(5)));
        assert_eq!(map.get("e"), Some(&Value::Text(String::new())));
        assert_eq!((map.get("z"), map.get("m"), map.0.len()), (Some(&Value::Null), Some(&Value::Null), 6));
        assert_eq!(decode(b"<?xml version='1.0'?><map/>"), Ok(Map::default()));
    }

    #[test]
    fn what_is_no_map_is_an_error() {
        let entry = "<entry><string>a</string><string>b</string></entry>";
        for xml in [
            "",
            "text",
            "<map>",
            "<list/>",
            "<map><string>a</string></map>",
            "<map><entry><string>a</string></entry></map>",
            "<map><entry><string>a</string><string>b</string><string>c</string></entry></map>",
            "<map><entry><long>1</long><string>b</string></entry></map>",
            "<map><entry><string>a</string><long>x</long></entry></map>",
            "<map><entry><string>a</string><int>2147483648</int></entry></map>",
            "<map><entry><string>a</string><string>&unknown;</string></entry></map>",
            "<map><entry><string>a</string><string><b/></string></entry></map>",
            "<map>text</map>",
            "<!DOCTYPE map [<!ENTITY a 'aaaa'>]><map/>",
        ] {
            decode(xml.as_bytes()).expect_err(xml);
        }
        decode(format!("<map>{}</map>", entry.repeat(MAX_VALUES)).as_bytes()).unwrap();
        assert_eq!(decode(format!("<map>{}</map>", entry.repeat(MAX_VALUES + 1)).as_bytes()), Err(XmlError::TooMany));
        // Depth costs nothing.
        let deep =
            format!("<map><entry><string>a</string>{}{}</entry></map>", "<l>".repeat(99_999), "</l>".repeat(99_999));
        assert_eq!(decode(deep.as_bytes()).unwrap().get("a"), Some(&Value::Null));
    }

    #[test]
    fn what_xml_cannot_say_is_refused() {
        for text in ["\0", "\u{1}", "\u{fffe}"] {
            assert_eq!(encode(&Map(vec![("a".into(), Value::Text(text.into()))])), Err(Unencodable::Type));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in proptest::collection::vec(
            ("[ -~\\r\\n\\tü𝄞]{0,9}", prop_oneof![
                "[ -~\\r\\n\\tü𝄞]{0,20}".prop_map(Value::Text), any::<i64>().prop_map(Value::I64),
                any::<i32>().prop_map(Value::I32), any::<bool>().prop_map(Value::Bool)]), 0..6)) {
            let map = Map(entries);
            prop_assert_eq!(decode(encode(&map).unwrap().as_bytes()), Ok(map));
        }

        #[test]
        fn any_text_gives_an_answer(text in "(<map>)?(<(/)?(map|entry|string|long|null)/?>|&#?[a-z0-9]{0,3};|[ -~]){0,20}") {
            let _ = decode(text.as_bytes());
        }
    }
}

//! CloudEvents. The first byte picks the mode: one event, a batch, or the binary mode, where `specversion`, `id`, `source` and
//! `type` come on lines of their own before the body, as the headers that they are there.

use revocation_hub::formats::cloudevents::{self, Attributes};
use revocation_hub::formats::message::{self, Options, Unreadable};
use revocation_hub::formats::wso2::translate::Untyped;
use serde_json::Value;

const OPTIONS: Options = Options { max_items: 100, untyped: Untyped::Both };

/// Panics at what must not be.
pub fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    match first % 3 {
        0 => one(rest),
        1 => batch(rest),
        _ => binary(rest),
    }
}

fn is_known(unreadable: &Unreadable) {
    assert!(Unreadable::REASONS.contains(&unreadable.reason()));
}

fn one(body: &[u8]) {
    let decoded = match cloudevents::structured(body, &OPTIONS) {
        Ok(decoded) => decoded,
        Err(unreadable) => return is_known(&unreadable),
    };
    assert!(decoded.revocations.len() <= 2 * OPTIONS.max_items);
    // Whatever was read from it, it says what every event says (CloudEvents 1.0.2 §3.1).
    // What nobody reads may be a number that is none to everybody.
    let Ok(event) = serde_json::from_slice::<Value>(body) else { return };
    assert_eq!(event["specversion"], "1.0");
    assert!(["id", "source", "type"].iter().all(|name| event[name].as_str().is_some_and(|text| !text.is_empty())));
    assert!(event["data"].is_null() != event["data_base64"].is_null());
    // Alone in a batch it is the same event; a batch counts what comes out.
    let alone = [b"[", body, b"]"].concat();
    // One level deeper it may be too deep.
    let is_json = serde_json::from_slice::<Value>(&alone).is_ok();
    if is_json && decoded.revocations.len() <= OPTIONS.max_items {
        let alone = cloudevents::batch(&alone, &OPTIONS).expect("the same event");
        assert_eq!(alone.len(), 1);
        assert_eq!(alone[0].revocations.len(), decoded.revocations.len());
    }
}

fn batch(body: &[u8]) {
    match cloudevents::batch(body, &OPTIONS) {
        Ok(all) => {
            assert!(all.len() <= OPTIONS.max_items);
            assert!(all.iter().map(|event| event.revocations.len()).sum::<usize>() <= OPTIONS.max_items);
        }
        Err(unreadable) => is_known(&unreadable),
    }
}

fn binary(rest: &[u8]) {
    let mut lines = rest.splitn(5, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    // Of headers only such text comes this far; an empty line is a header that is not there.
    let mut text = || str::from_utf8(line()).ok().map(|text| Some(text).filter(|text| !text.is_empty()));
    let (Some(specversion), Some(id), Some(source), Some(kind)) = (text(), text(), text(), text()) else { return };
    let body = line();
    let checked = Attributes { specversion, id, source, r#type: kind }.check();
    if serde_json::from_slice::<Value>(body).is_err() {
        return;
    }
    // The same event in the structured mode says the same.
    let quoted = |text: Option<&str>| serde_json::to_vec(&text).expect("text");
    let event = [
        br#"{"specversion":"#.to_vec(),
        quoted(specversion),
        br#","id":"#.to_vec(),
        quoted(id),
        br#","source":"#.to_vec(),
        quoted(source),
        br#","type":"#.to_vec(),
        quoted(kind),
        br#","data":"#.to_vec(),
        body.to_vec(),
        b"}".to_vec(),
    ]
    .concat();
    // One level deeper it may be too deep.
    if serde_json::from_slice::<Value>(&event).is_err() {
        return;
    }
    let structured = cloudevents::structured(&event, &OPTIONS);
    match checked {
        Err(error) => assert_eq!(structured.expect_err("attributes are missing"), error),
        Ok(()) if body.trim_ascii() == b"null" => {}
        Ok(()) => match (message::decode(Some("application/json"), body, &OPTIONS), structured) {
            (Ok(plain), Ok(event)) => assert_eq!(plain.revocations.len(), event.revocations.len()),
            (Err(plain), Err(event)) => assert_eq!(plain.reason(), event.reason()),
            _ => panic!("two readings of one event"),
        },
    }
}

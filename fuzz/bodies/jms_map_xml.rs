//! Map messages in XML, as ActiveMQ has them over STOMP.

use revocation_hub::formats::jms_map_xml;

/// Panics at what must not be.
pub fn run(body: &[u8]) {
    let Ok(map) = jms_map_xml::decode(body) else { return };
    // What can be written reads the same, but for null, which is left out, and numbers with a fraction, which are not.
    if let Ok(xml) = jms_map_xml::encode(&map) {
        let again = jms_map_xml::decode(xml.as_bytes()).expect("what was written can be read");
        assert_eq!(jms_map_xml::encode(&again), Ok(xml));
    }
}

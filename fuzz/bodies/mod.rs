//! What is asked of each decoder, whatever bytes come: used by the fuzz targets beside this folder and by the short run in
//! `tests/formats`.

mod amqp1_value;
mod cloudevents;
mod form;
mod jms_map_xml;
mod jwt;
mod legacy_map;
mod logout_token;
mod map;
mod message;
mod notify;
mod set;
mod signature;
mod snapshot;
mod stomp;
mod text;

/// What a target does with any bytes; it panics at what must not be.
type Run = fn(&[u8]);

/// Every target: its name, which is that of its binary and of its folder of seeds, and what it does.
pub const ALL: &[(&str, Run)] = &[
    ("amqp1_value", amqp1_value::run),
    ("cloudevents", cloudevents::run),
    ("form", form::run),
    ("jms_map_xml", jms_map_xml::run),
    ("jwt", jwt::run),
    ("legacy_map", legacy_map::run),
    ("logout_token", logout_token::run),
    ("map", map::run),
    ("message", message::run),
    ("notify", notify::run),
    ("set", set::run),
    ("signature", signature::run),
    ("snapshot", snapshot::run),
    ("stomp", stomp::run),
    ("text", text::run),
];

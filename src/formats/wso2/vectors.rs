//! Conformance vectors: what WSO2's own encoders wrote for the events of its products, and broken variants. Tokens and ids
//! are invented. `M`: map messages in both encodings; `T`: text messages; `X`: malformed; `N`: bodies of notify calls.

/// The jti of most vectors.
pub const J: &str = "c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30";
/// The event id of most vectors.
pub const E: &str = "7b1f0c52-6a3e-4d0a-9c11-5e2f8a90d4b7";
/// The consumer key of the rules.
pub const CONSUMER: &str = "rfjtExampleKey0000000000000a";
/// The entity of the rules.
pub const ENTITY: &str = "4f6d2a19-7c30-4b8e-a5d1-93e0b7c8f412";

/// Hexadecimal as bytes.
pub fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).expect("a vector is hexadecimal")
}

/// Name, `amqp/map`, `jms/map-message`.
pub const MAPS: &[(&str, &str, &str)] = &[
    (
        "M1",
        "000000a700000006076576656e744964980000002437623166306335322d366133652d346430612d396331312d3565326638613930643462370a65787069727954696d6531000003bb2cc3d8000874656e616e74496421fffffb2e0c7265766f6b6564546f6b656e980000002463306138663364322d343162362d346535372d386639612d326437623663316535613330047479706598000000034a57540374746c980000000435303030",
        "000000066576656e744964000a37623166306335322d366133652d346430612d396331312d3565326638613930643462370065787069727954696d650007000003bb2cc3d80074656e616e7449640006fffffb2e7265766f6b6564546f6b656e000a63306138663364322d343162362d346535372d386639612d3264376236633165356133300074797065000a4a57540074746c000a3530303000",
    ),
    (
        "M2",
        "00000060000000030a65787069727954696d653100000000f48657000c7265766f6b6564546f6b656e980000002965794a68624763694f694a53557a49314e694a392e65794a7164476b694f694a68496e302e63326c6e0374746c980000000435303030",
        "0000000365787069727954696d65000700000000f48657007265766f6b6564546f6b656e000a65794a68624763694f694a53557a49314e694a392e65794a7164476b694f694a68496e302e63326c6e0074746c000a3530303000",
    ),
    (
        "M3",
        "00000046000000030a65787069727954696d653100000000000000000c7265766f6b6564546f6b656e980000000f61316232633364342d6f70617175650374746c980000000435303030",
        "0000000365787069727954696d65000700000000000000007265766f6b6564546f6b656e000a61316232633364342d6f70617175650074746c000a3530303000",
    ),
    (
        "M4",
        "00000047000000020c7265766f6b6564546f6b656e980000002463306138663364322d343162362d346535372d386639612d3264376236633165356133300374746c980000000433363030",
        "000000027265766f6b6564546f6b656e000a63306138663364322d343162362d346535372d386639612d3264376236633165356133300074746c000a3336303000",
    ),
    (
        "M5",
        "0000005c00000006076576656e744964980000000265300a65787069727954696d65317fffffffffffffff0874656e616e74496421000000000c7265766f6b6564546f6b656e980000000274300474797065f00374746c980000000435303030",
        "000000066576656e744964000a65300065787069727954696d6500077fffffffffffffff74656e616e7449640006000000007265766f6b6564546f6b656e000a74300074797065000b74746c000a3530303000",
    ),
    (
        "M7",
        "0000007400000006076576656e744964980000000265310a65787069727954696d6531000003bb2cc3d8000874656e616e74496421fffffb2e0c7265766f6b6564546f6b656e980000000f61316232633364342d6f70617175650474797065980000000744656661756c740374746c980000000435303030",
        "000000066576656e744964000a65310065787069727954696d650007000003bb2cc3d80074656e616e7449640006fffffb2e7265766f6b6564546f6b656e000a61316232633364342d6f70617175650074797065000a44656661756c740074746c000a3530303000",
    ),
    (
        "M8",
        "0000008900000006076576656e744964980000000265320a65787069727954696d653100000000f48657000874656e616e74496421fffffb2e0c7265766f6b6564546f6b656e980000002463306138663364322d343162362d346535372d386639612d326437623663316535613330047479706598000000074150495f4b45590374746c980000000435303030",
        "000000066576656e744964000a65320065787069727954696d65000700000000f486570074656e616e7449640006fffffb2e7265766f6b6564546f6b656e000a63306138663364322d343162362d346535372d386639612d3264376236633165356133300074797065000a4150495f4b45590074746c000a3530303000",
    ),
    (
        "M9",
        "000000e700000006076576656e744964980000000265330a65787069727954696d653100000000000000000874656e616e74496421fffffb2e0c7265766f6b6564546f6b656e980000006c65794a6a6232357a6457316c636c39725a586b694f694a795a6d703052586868625842735a55746c655441774d4441774d4441774d4441774d44426849697769636d563262324e6864476c76626c5270625755694f6949784e7a59334d6a49314e6a41774d444177496e303d0474797065980000001d636f6e73756d65725f6170705f7265766f636174696f6e5f6576656e740374746c980000000435303030",
        "000000066576656e744964000a65330065787069727954696d650007000000000000000074656e616e7449640006fffffb2e7265766f6b6564546f6b656e000a65794a6a6232357a6457316c636c39725a586b694f694a795a6d703052586868625842735a55746c655441774d4441774d4441774d4441774d44426849697769636d563262324e6864476c76626c5270625755694f6949784e7a59334d6a49314e6a41774d444177496e303d0074797065000a636f6e73756d65725f6170705f7265766f636174696f6e5f6576656e740074746c000a3530303000",
    ),
    ("M11", "0000000400000000", "00000000"),
];

/// Name and body.
pub const TEXTS: &[(&str, &str)] = &[
    (
        "T1",
        r#"{"event":{"payloadData":{"eventId":"7b1f0c52-6a3e-4d0a-9c11-5e2f8a90d4b7","revokedToken":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","ttl":"5000","expiryTime":4102444800000,"type":"JWT","tenantId":-1234}}}"#,
    ),
    (
        "T2",
        r#"{"event":{"payloadData":{"eventId":"e1","revokedToken":"a1b2c3d4-opaque","ttl":"5000","expiryTime":4102444800000,"type":"Default","tenantId":-1234}}}"#,
    ),
    (
        "T3",
        r#"{"event":{"payloadData":{"eventId":"e2","revokedToken":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","ttl":"5000","expiryTime":4102444800,"type":"API_KEY","tenantId":-1234}}}"#,
    ),
    (
        "T4",
        r#"{"event":{"payloadData":{"eventId":"e4","revokedToken":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","ttl":"5000","expiryTime":9223372036854775807,"type":"JWT","tenantId":-1234}}}"#,
    ),
    (
        "T5",
        r#"{"event":{"payloadData":{"eventId":"e3","revokedToken":"eyJjb25zdW1lcl9rZXkiOiJyZmp0RXhhbXBsZUtleTAwMDAwMDAwMDAwMDBhIiwicmV2b2NhdGlvblRpbWUiOiIxNzY3MjI1NjAwMDAwIn0=","ttl":"5000","expiryTime":0,"type":"consumer_app_revocation_event","tenantId":-1234}}}"#,
    ),
    (
        "T6",
        r#"{"event":{"payloadData":{"eventId":"e5","revokedToken":"eyJlbnRpdHlUeXBlIjoiVVNFUl9JRCIsInJldm9jYXRpb25UaW1lIjoiMTc2NzIyNTYwMDAwMCIsImVudGl0eUlkIjoiNGY2ZDJhMTktN2MzMC00YjhlLWE1ZDEtOTNlMGI3YzhmNDEyIn0=","ttl":"5000","expiryTime":0,"type":"subject_entity_revocation_event","tenantId":-1234}}}"#,
    ),
    (
        "T7",
        r#"{"event":{"payloadData":{"eventId":"e6","revokedToken":"rfjtExampleKey0000000000000a","ttl":"5000","expiryTime":0,"type":"token_revocation_batch","tenantId":-1234}}}"#,
    ),
];

/// Name, content type, body.
pub const MALFORMED: &[(&str, &str, &str)] = &[
    (
        "X1",
        "amqp/map",
        r#"00000047000000020c7265766f6b6564546f6b656e980000002463306138663364322d343162362d346535372d386639612d3264376236633165356133300374746c9800000004"#,
    ),
    ("X3", "amqp/map", r#"00000022000000020c7265766f6b6564546f6b656eff6162630374746c980000000433363030"#),
    ("X5", "amqp/map", r#"00000017000000010c7265766f6b6564546f6b656e987fffffff74"#),
    ("X6", "amqp/map", r#"00000011000000010374746c980000000433363030"#),
    (
        "X8",
        "text/plain",
        r#"{"event":{"payloadData":{"eventId":"x","revokedToken":"a"b","ttl":"5000","expiryTime":0,"type":"Default","tenantId":-1234}}}"#,
    ),
];

/// Name and body of notify calls.
pub const NOTIFY: &[(&str, &str)] = &[
    (
        "N-1",
        r#"{"accessToken":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","expiryTime":4102444800000,"user":"admin","consumerKey":"rfjtExampleKey0000000000000a","tokenType":"JWT","eventId":"7b1f0c52-6a3e-4d0a-9c11-5e2f8a90d4b7","timeStamp":1767222000000,"type":"token_revocation","tenantId":-1234,"tenantDomain":"carbon.super","properties":{}}"#,
    ),
    (
        "N-4",
        r#"{"accessToken":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","expiryTime":4102444800000,"user":"admin","consumerKey":"rfjtExampleKey0000000000000a","eventId":"7b1f0c52-6a3e-4d0a-9c11-5e2f8a90d4b7","timeStamp":1767222000000,"type":"token_revocation","tenantId":-1234,"tenantDomain":"carbon.super","properties":{}}"#,
    ),
    (
        "N-5",
        r#"{"accessToken":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","expiryTime":4102444800000,"user":"admin","consumerKey":"rfjtExampleKey0000000000000a","tokenType":"JWT","eventId":"7b1f0c52-6a3e-4d0a-9c11-5e2f8a90d4b7","timeStamp":1767222000000,"type":"token_revocation","properties":{}}"#,
    ),
    (
        "N-6",
        r#"{"accessToken":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","expiryTime":9223372036854775807,"user":"admin","consumerKey":"rfjtExampleKey0000000000000a","tokenType":"JWT","eventId":"7b1f0c52-6a3e-4d0a-9c11-5e2f8a90d4b7","timeStamp":1767222000000,"type":"token_revocation","tenantId":-1234,"tenantDomain":"carbon.super","properties":{}}"#,
    ),
    (
        "N-9",
        r#"{"consumerKey":"rfjtExampleKey0000000000000a","revocationTime":1767225600000,"eventId":"e3","type":"consumer_app_revocation_event","tenantId":-1234,"tenantDomain":"carbon.super"}"#,
    ),
    (
        "N-10",
        r#"{"entityId":"4f6d2a19-7c30-4b8e-a5d1-93e0b7c8f412","entityType":"USER_ID","revocationTime":1767225600000,"eventId":"e5","type":"subject_entity_revocation_event","tenantId":-1234,"tenantDomain":"carbon.super"}"#,
    ),
    (
        "N-11",
        r#"{"consumerKey":"rfjtExampleKey0000000000000a","tokenRevocationEventList":[{"accessToken":"b1","expiryTime":4102444800000,"user":"admin","consumerKey":"rfjtExampleKey0000000000000a","tokenType":"JWT","eventId":"e6a","timeStamp":1767222000000,"type":"token_revocation","tenantId":-1234,"tenantDomain":"carbon.super"},{"accessToken":"b2","expiryTime":4102444800000,"user":"admin","consumerKey":"rfjtExampleKey0000000000000a","tokenType":"JWT","eventId":"e6b","timeStamp":1767222000000,"type":"token_revocation","tenantId":-1234,"tenantDomain":"carbon.super"}],"eventId":"e6","timeStamp":1767222000000,"type":"token_revocation_batch","tenantId":-1234,"tenantDomain":"carbon.super"}"#,
    ),
    (
        "N-16",
        r#"{"accessToken":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","expiryTime":1767225600000,"user":"admin","consumerKey":"rfjtExampleKey0000000000000a","tokenType":"JWT","eventId":"7b1f0c52-6a3e-4d0a-9c11-5e2f8a90d4b7","timeStamp":1767222000000,"type":"token_revocation","tenantId":-1234,"tenantDomain":"carbon.super","properties":{}}"#,
    ),
];

/// A whole answer of `/revokedjwt` since 4.3.
pub const OBJECT: &str = r#"{"revokedJWTList":[{"jwt_signature":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","expiry_time":4102444800000}],"revokedJWTSubjectEntityList":[{"entity_id":"4f6d2a19-7c30-4b8e-a5d1-93e0b7c8f412","entity_type":"USER_ID","revocation_time":1767225600000,"organization":"carbon.super"}],"revokedJWTConsumerKeyList":[{"consumer_key":"rfjtExampleKey0000000000000a","revocation_time":1767225600000,"type":null,"organization":"carbon.super"}]}"#;

/// The vector of this name.
pub fn text(name: &str) -> &'static str {
    TEXTS.iter().chain(NOTIFY).find(|(n, _)| *n == name).expect("a vector of this name").1
}

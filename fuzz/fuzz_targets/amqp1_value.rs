#![no_main]

use libfuzzer_sys::fuzz_target;
use revocation_hub::formats::amqp1_value;
use revocation_hub::formats::wso2::value::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(Value::Map(map)) = amqp1_value::decode(body) else { return };
    if let Ok(written) = amqp1_value::encode(&map) {
        assert_eq!(amqp1_value::decode(&written), Ok(Value::Map(map)));
    }
});

//! Values of AMQP 1.0: what can be written reads the same.

use revocation_hub::formats::amqp1_value;
use revocation_hub::formats::wso2::value::Value;

/// Panics at what must not be.
pub fn run(body: &[u8]) {
    let Ok(Value::Map(map)) = amqp1_value::decode(body) else { return };
    if let Ok(written) = amqp1_value::encode(&map) {
        assert_eq!(amqp1_value::decode(&written), Ok(Value::Map(map)));
    }
}

//! Forms of OAuth's endpoints.

use revocation_hub::formats::form::Form;

/// Panics at what must not be.
pub fn run(body: &[u8]) {
    if let Ok(form) = Form::read(body) {
        // What counts as given has a value, and nothing of it is shown.
        assert!(form.get("token").is_none_or(|value| !value.is_empty()));
        let _ = format!("{form:?}");
    }
}
